#!/usr/bin/env python3
"""Publishes a task directly to RabbitMQ and waits for its outcome. Needs pika (pip install pika).

    python3 docs/examples/publish.py [TASK.json]

RABBITMQ_URL and RABBITMQ_PREFIX name the broker and the deployment; TOKEN is sent when it is set.
"""

import json
import os
import pathlib
import sys
import uuid

import pika

URL = os.environ.get("RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672/%2f")
PREFIX = os.environ.get("RABBITMQ_PREFIX", "")
TOKEN = os.environ.get("TOKEN")
PATIENCE_SECONDS = 60


def main() -> int:
    example = pathlib.Path(__file__).with_name("risk-assessment.json")
    body = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else example).read_bytes()

    connection = pika.BlockingConnection(pika.URLParameters(URL))
    channel = connection.channel()
    channel.confirm_delivery()  # basic_publish now returns once the broker has the message
    replies = channel.queue_declare("", exclusive=True).method.queue

    # The message's id becomes the task's id: whoever sends the same message again gets the same task, not another one.
    task_id = str(uuid.uuid4())
    properties = pika.BasicProperties(
        content_type="application/json",
        delivery_mode=pika.DeliveryMode.Persistent,
        message_id=task_id,
        correlation_id=task_id,
        reply_to=replies,
        headers={"authorization": f"Bearer {TOKEN}"} if TOKEN else None,
    )
    try:
        channel.basic_publish(f"{PREFIX}orchestrator.commands", "task.execute", body, properties, mandatory=True)
    except (pika.exceptions.UnroutableError, pika.exceptions.ChannelClosedByBroker):
        sys.exit("no queue takes tasks: has no worker ever run with this RABBITMQ_PREFIX?")
    except pika.exceptions.NackError:
        sys.exit("the broker did not take the task: send it again with the same message_id")
    print(f"published task {task_id}")

    for method, answer, document in channel.consume(replies, auto_ack=True, inactivity_timeout=PATIENCE_SECONDS):
        if method is None:
            sys.exit(f"no outcome within {PATIENCE_SECONDS} s; the task goes on: GET /orchestrator/tasks/{task_id}")
        if answer.correlation_id != task_id:
            continue
        outcome = json.loads(document)  # a task event or, for a refusal, a problem document
        print(json.dumps(outcome, indent=2))
        connection.close()
        return 0 if outcome["status"] == "completed" else 1
    return 1


if __name__ == "__main__":
    sys.exit(main())
