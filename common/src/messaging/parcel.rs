//! What a lane sends as one message: a message that somebody put together, or the tasks that wait beside each other.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::batch::{FULL, MAX_TASKS};
use super::outgoing::Outgoing;
use super::publisher::{AuthorizedTask, Fate, Load, PublishError, Request};
use super::topology::Topology;
use crate::domain::NewTask;

/// What a task needs in a message beside what its caller may fill as it likes, in bytes, roughly.
const TASK_FRAME: usize = 512;

/// A message and everybody who waits for its fate.
pub(super) struct Parcel {
    pub(super) outgoing: Outgoing,
    fates: Vec<oneshot::Sender<Fate>>,
}

impl Parcel {
    /// Tells everybody.
    pub(super) fn tell(self, fate: &Fate) {
        tell(self.fates, fate);
    }
}

fn tell(fates: Vec<oneshot::Sender<Fate>>, fate: &Fate) {
    for waiting in fates {
        let _gone = waiting.send(fate.clone());
    }
}

/// Puts what waits into messages: a message as it is, tasks together as far as size and `authorization` allow. A task that
/// waits alone is sent as it always was, as `task.execute`.
pub(super) fn parcels(requests: Vec<Request>, topology: &Topology) -> Vec<Parcel> {
    let mut parcels = Vec::new();
    let mut group = Group::default();
    for Request { load, fate } in requests {
        match load {
            Load::Message(outgoing) => parcels.push(Parcel {
                outgoing,
                fates: vec![fate],
            }),
            Load::Task(task) => {
                if !group.takes(&task) {
                    parcels.extend(std::mem::take(&mut group).parcel(topology));
                }
                group.add(task, fate);
            }
        }
    }
    parcels.extend(group.parcel(topology));
    parcels
}

/// Tasks that go together.
#[derive(Default)]
struct Group {
    tasks: Vec<Arc<NewTask>>,
    authorization: Option<Arc<str>>,
    fates: Vec<oneshot::Sender<Fate>>,
    size: usize,
}

impl Group {
    fn takes(&self, more: &AuthorizedTask) -> bool {
        self.tasks.is_empty()
            || (self.authorization == more.authorization
                && self.tasks.len() < MAX_TASKS
                && self.size + size_of(&more.task) <= FULL)
    }

    fn add(&mut self, more: AuthorizedTask, fate: oneshot::Sender<Fate>) {
        self.size += size_of(&more.task);
        self.authorization = more.authorization;
        self.tasks.push(more.task);
        self.fates.push(fate);
    }

    fn parcel(self, topology: &Topology) -> Option<Parcel> {
        let outgoing = match self.tasks.as_slice() {
            [] => return None,
            [task] => Outgoing::task(topology, task),
            tasks => Outgoing::batch(topology, tasks.iter().map(AsRef::as_ref)),
        };
        match outgoing {
            Ok(mut outgoing) => {
                if let Some(header) = &self.authorization {
                    outgoing = outgoing.with_authorization(header);
                }
                Some(Parcel {
                    outgoing,
                    fates: self.fates,
                })
            }
            Err(error) => {
                tracing::error!(%error, tasks = self.tasks.len(), "tasks cannot be put into a message");
                tell(self.fates, &Err(PublishError::Unsayable));
                None
            }
        }
    }
}

fn size_of(task: &NewTask) -> usize {
    let metadata = task
        .metadata
        .as_ref()
        .map_or(0, |metadata| metadata.get().len());
    TASK_FRAME + task.task_data.get().len() + metadata
}
