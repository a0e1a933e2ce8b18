//! RabbitMQ: the message contract, confirmed publishing, supervised consuming, and the one place that settles.

mod batch;
mod command;
mod consumer;
mod dead_letters;
mod decode;
mod encode;
mod envelope;
mod event;
mod lane;
mod link;
mod outgoing;
mod parcel;
mod publisher;
mod refusal;
mod settle;
mod share;
mod signal;
mod supervisor;
mod topology;
mod workflow_commands;

pub use batch::BatchMember;
pub use command::{Command, Kind, Received, VERSION, WorkflowStart};
pub use consumer::{Consumer, Message};
pub use dead_letters::read_dead_letter;
pub use decode::{DEFAULT_MAX_BODY_BYTES, Decoder};
pub use event::{AgentEvent, TaskEvent, WorkflowEvent};
pub use link::{Broker, LinkError};
pub use outgoing::Outgoing;
pub use publisher::{PublishError, Publisher, PublisherOptions};
pub use refusal::{Reason, Refusal};
pub use settle::{accept_all, ack_all, dead_letter, requeue};
pub use share::Share;
pub use signal::{Control, Doorbell};
pub use supervisor::{Consuming, Supervisor};
pub use topology::{Source, Topology};
