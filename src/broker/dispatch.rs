//! Request code to handler: the table of contents. `wire/COVERAGE.md` tells it in
//! prose, and a test compares the two.

use crate::wire::Request;
use crate::wire::code::{request, response};

use super::Broker;
use super::context::{Context, FramePlace, Outcome, ReplyTo};
use super::refusal::Refusal;

/// What became of a request, or why it is refused.
type Handled = Result<Outcome, Refusal>;

/// One request with all that a handler may need of it.
struct Call<'c, 'x, 'r> {
    cx: &'c mut Context<'x>,
    to: ReplyTo,
    place: FramePlace,
    request: &'c Request<'r>,
}

macro_rules! handlers {
    ($($code:path => $handler:ident $(($($with:ident),*))?;)*) => {
        /// Every request code that is served.
        pub const CODES: &[i32] = &[$($code),*];

        fn route(broker: &mut Broker, call: Call) -> Handled {
            let Call { cx, to, place, request } = call;
            let _ = place;
            match request.code {
                $($code => handlers!(@call broker, $handler, cx, to, place, request $(, $($with),*)?),)*
                code => Err(unknown(code)),
            }
        }
    };
    (@call $broker:ident, $handler:ident, $cx:ident, $to:ident, $place:ident, $request:ident, place) => {
        $broker.$handler($cx, $to, $place, $request)
    };
    (@call $broker:ident, $handler:ident, $cx:ident, $to:ident, $place:ident, $request:ident) => {
        $broker.$handler($cx, $to, $request)
    };
}

handlers! {
    request::SEND_MESSAGE => send(place);
    request::SEND_MESSAGE_V2 => send(place);
    request::SEND_BATCH_MESSAGE => send(place);
    request::PULL_MESSAGE => pull(place);
    request::LITE_PULL_MESSAGE => pull(place);

    request::QUERY_CONSUMER_OFFSET => query_consumer_offset;
    request::UPDATE_CONSUMER_OFFSET => update_consumer_offset;
    request::SEARCH_OFFSET_BY_TIMESTAMP => search_offset;
    request::GET_MAX_OFFSET => max_offset;
    request::GET_MIN_OFFSET => min_offset;
    request::GET_EARLIEST_MSG_STORETIME => earliest_store_time;
    request::VIEW_MESSAGE_BY_ID => view_message;

    request::HEART_BEAT => heartbeat;
    request::UNREGISTER_CLIENT => unregister_client;
    request::GET_CONSUMER_LIST_BY_GROUP => consumer_list;
    request::CHECK_CLIENT_CONFIG => check_client;

    request::UPDATE_AND_CREATE_TOPIC => update_topic;
    request::UPDATE_AND_CREATE_TOPIC_LIST => update_topics;
    request::DELETE_TOPIC_IN_BROKER => delete_topic;
    request::GET_ALL_TOPIC_CONFIG => all_topics;
    request::GET_TOPIC_CONFIG => topic_config;
    request::GET_SYSTEM_TOPIC_LIST_FROM_BROKER => system_topics;

    request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP => update_group;
    request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST => update_groups;
    request::DELETE_SUBSCRIPTIONGROUP => delete_group;
    request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => all_groups;
    request::GET_SUBSCRIPTIONGROUP_CONFIG => group_config;

    request::GET_TOPIC_STATS_INFO => topic_stats;
    request::GET_CONSUME_STATS => consume_stats;
    request::QUERY_TOPIC_CONSUME_BY_WHO => consumers_of_topic;
    request::QUERY_TOPICS_BY_CONSUMER => topics_of_consumer;

    request::GET_CONSUMER_CONNECTION_LIST => consumer_connections;
    request::GET_PRODUCER_CONNECTION_LIST => producer_connections;
    request::GET_ALL_PRODUCER_INFO => all_producers;
    request::QUERY_SUBSCRIPTION_BY_CONSUMER => subscription;

    request::UPDATE_BROKER_CONFIG => update_options;
    request::GET_BROKER_CONFIG => options_text;
    request::GET_BROKER_RUNTIME_INFO => runtime_info;
}

impl Broker {
    /// Handles one request: answers it, keeps it, or refuses it with a code.
    pub fn handle(
        &mut self,
        cx: &mut Context,
        to: ReplyTo,
        place: FramePlace,
        request: &Request,
    ) -> Outcome {
        match route(self, Call { cx, to, place, request }) {
            Ok(outcome) => outcome,
            Err(refusal) => {
                cx.refuse(to, &refusal);
                Outcome::Done
            }
        }
    }
}

fn unknown(code: i32) -> Refusal {
    let remark = match crate::wire::code::request::name(code) {
        Some(name) => format!("request type {code} ({name}) is not supported"),
        None => format!(" request type {code} not supported"),
    };
    Refusal::new(response::REQUEST_CODE_NOT_SUPPORTED, remark)
}
