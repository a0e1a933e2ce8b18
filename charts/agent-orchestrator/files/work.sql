-- Tasks that run, and those that could run at once if there were a worker for them: what waits for a slot of its agent,
-- or for an agent that is paused or not there yet, needs no worker. One row for each agent is read.
-- :sessions stands for MAX_CONCURRENT_AGENT_SESSIONS.
SELECT COALESCE(SUM(running + CASE WHEN desired = 'running' AND status = 'active'
  THEN LEAST(queued, GREATEST(COALESCE(max_concurrent_sessions, :sessions) - running, 0)) ELSE 0 END), 0)::bigint AS work
FROM agents
