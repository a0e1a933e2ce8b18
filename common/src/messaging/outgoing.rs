//! A message on its way to the broker.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use uuid::Uuid;

use crate::domain::Origin;

/// The header that says for whom the API sends a message. Dead letters do not keep it.
pub(super) const SUBMITTED_BY: &str = "x-submitted-by";
/// The header that says in which request.
pub(super) const REQUEST_ID: &str = "x-request-id";
/// The header of a dead letter that says who refused the message.
pub(super) const REFUSED_BY: &str = "x-refused-by";

/// Kept on disk by the broker.
const PERSISTENT: u8 = 2;

/// A message with where it goes and how much it matters.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub(super) exchange: ShortString,
    pub(super) routing_key: ShortString,
    pub(super) properties: BasicProperties,
    pub(super) body: Vec<u8>,
    pub(super) mandatory: bool,
}

impl Outgoing {
    /// A persistent JSON message with the `message_id` by which a returned message is told from its neighbours.
    pub(super) fn persistent(
        exchange: ShortString,
        routing_key: ShortString,
        message_id: Uuid,
        body: Vec<u8>,
    ) -> Self {
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_delivery_mode(PERSISTENT)
            .with_message_id(message_id.to_string().into());
        Self {
            exchange,
            routing_key,
            properties,
            body,
            mandatory: false,
        }
    }

    /// A JSON message that the broker may forget when it restarts.
    pub(super) fn fleeting(exchange: ShortString, routing_key: ShortString, body: Vec<u8>) -> Self {
        Self {
            exchange,
            routing_key,
            properties: BasicProperties::default().with_content_type("application/json".into()),
            body,
            mandatory: false,
        }
    }

    /// Nothing but properties, for what is to be put together from those of another message.
    pub(super) fn bare(properties: BasicProperties) -> Self {
        Self {
            exchange: ShortString::default(),
            routing_key: ShortString::default(),
            properties,
            body: Vec::new(),
            mandatory: false,
        }
    }

    /// Makes it a failure when no queue takes the message.
    pub(super) fn mandatory(mut self) -> Self {
        self.mandatory = true;
        self
    }

    /// Adds a correlation id; one of more than 255 bytes has no place in AMQP and is left out.
    pub(super) fn with_correlation_id(mut self, id: Option<&str>) -> Self {
        if let Some(id) = id.and_then(|id| ShortString::try_new(id).ok()) {
            self.properties = self.properties.with_correlation_id(id);
        }
        self
    }

    /// Adds the queue that gets the answer; a name of more than 255 bytes cannot exist and is left out.
    pub(super) fn with_reply_to(mut self, queue: Option<&str>) -> Self {
        if let Some(queue) = queue.and_then(|queue| ShortString::try_new(queue).ok()) {
            self.properties = self.properties.with_reply_to(queue);
        }
        self
    }

    /// Adds text headers to those that are there; a name of more than 255 bytes has no place in AMQP and is left out.
    pub(super) fn with_headers<'a>(
        mut self,
        headers: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let mut table: FieldTable = self.properties.headers().clone().unwrap_or_default();
        for (name, value) in headers {
            let Ok(name) = ShortString::try_new(name) else {
                continue;
            };
            table.insert(
                name,
                AMQPValue::LongString(LongString::from(value.as_bytes().to_vec())),
            );
        }
        if !table.inner().is_empty() {
            self.properties = self.properties.with_headers(table);
        }
        self
    }

    /// Says for whom and in which request it is sent; workers believe it of the API only, when authentication is on.
    #[must_use]
    pub fn with_origin(self, origin: &Origin) -> Self {
        let request_id = origin.request_id.as_deref().map(|id| (REQUEST_ID, id));
        let headers = [(SUBMITTED_BY, origin.actor.as_str())];
        self.with_headers(headers.into_iter().chain(request_id))
    }

    /// The exchange it goes to; empty for the one that leads to the queue named by the routing key.
    #[must_use]
    pub fn exchange(&self) -> &str {
        self.exchange.as_str()
    }

    /// Its routing key.
    #[must_use]
    pub fn routing_key(&self) -> &str {
        self.routing_key.as_str()
    }

    /// Its properties.
    #[must_use]
    pub fn properties(&self) -> &BasicProperties {
        &self.properties
    }

    /// Its body, JSON.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }
}

/// A text header of a message.
pub(super) fn text_header(properties: &BasicProperties, name: &str) -> Option<String> {
    let headers = properties.headers().as_ref()?;
    match headers.inner().get(name)? {
        AMQPValue::LongString(text) => String::from_utf8(text.as_bytes().to_vec()).ok(),
        AMQPValue::ShortString(text) => Some(text.as_str().to_owned()),
        _ => None,
    }
}
