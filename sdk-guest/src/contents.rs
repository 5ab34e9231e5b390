use crate::{Level, Value, Values, host};

/// Everything in a batch that can hold text: every different combination of place, key and value once, and every different
/// combination of place and key.
#[derive(Clone, Debug)]
pub struct Contents {
    data: Values,
    keys: Values,
    key_of: Vec<u32>,
    places: Vec<u8>,
    key_places: Vec<u8>,
}

/// A value that is neither a list nor a map, at one place, with one key.
#[derive(Clone, Copy, Debug)]
pub struct Leaf<'a> {
    /// By which it is replaced; from 1.
    pub number: u32,
    /// The number of its key, if it has one; an element of a list has the list's.
    pub key: Option<u32>,
    /// What it holds.
    pub value: Value<'a>,
    /// Where it is.
    pub place: Place,
    /// Whether it is within a list or a map.
    pub is_nested: bool,
}

/// A key at one place.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    /// By which it is removed or renamed; from 1.
    pub number: u32,
    /// A string, or bytes that are not valid UTF-8.
    pub text: Value<'a>,
    /// Where it is.
    pub place: Place,
    /// Whether it is within a list or a map.
    pub is_nested: bool,
}

impl Contents {
    pub(crate) fn new(leaves: host::Leaves) -> Contents {
        let host::Leaves { data, keys, key_of, places, key_places } = leaves;
        Contents { data: Values::new(data, 1), keys: Values::new(keys, 1), key_of, places, key_places }
    }

    /// All leaves, by number.
    pub fn leaves(&self) -> impl ExactSizeIterator<Item = Leaf<'_>> {
        let count = self.data.len().min(self.places.len()).min(self.key_of.len());
        (1..count).map(|at| {
            let (place, is_nested) = Place::of(self.places[at]);
            let key = Some(self.key_of[at]).filter(|key| *key != 0);
            Leaf { number: at as u32, key, value: self.data.get(at), place, is_nested }
        })
    }

    /// All keys, by number.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = Key<'_>> {
        (1..self.keys.len().min(self.key_places.len())).map(|at| self.key_at(at))
    }

    /// The key of this number.
    pub fn key(&self, number: u32) -> Option<Key<'_>> {
        let at = number as usize;
        (at != 0 && at < self.keys.len().min(self.key_places.len())).then(|| self.key_at(at))
    }

    fn key_at(&self, at: usize) -> Key<'_> {
        let (place, is_nested) = Place::of(self.key_places[at]);
        Key { number: at as u32, text: self.keys.get(at), place, is_nested }
    }
}

/// Declares [`Place`] by the contract's numbers, which begin at 1.
macro_rules! places {
    ($($(#[$doc:meta])* $name:ident at $level:ident,)*) => {
        /// Where a leaf or a key is. Further places can be added.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Place {
            $($(#[$doc])* $name,)*
            /// A place that this version does not know.
            Unknown,
        }

        impl Place {
            const ALL: &[Place] = &[$(Place::$name,)*];

            /// The level of the rows that have it; None of one that is not known.
            pub fn level(self) -> Option<Level> {
                match self {
                    $(Place::$name => Some(Level::$level),)*
                    Place::Unknown => None,
                }
            }
        }
    };
}

places! {
    /// An attribute of a resource.
    ResourceAttributes at Resource,
    /// A resource's schema URL.
    ResourceSchemaUrl at Resource,
    /// An entity reference of a resource.
    ResourceEntity at Resource,
    /// A scope's name.
    ScopeName at Scope,
    /// A scope's version.
    ScopeVersion at Scope,
    /// An attribute of a scope.
    ScopeAttributes at Scope,
    /// A scope's schema URL.
    ScopeSchemaUrl at Scope,
    /// A span's name.
    SpanName at Span,
    /// A span's `tracestate`.
    SpanTraceState at Span,
    /// An attribute of a span.
    SpanAttributes at Span,
    /// The message of a span's status.
    SpanStatusMessage at Span,
    /// An id of a span that is not one.
    SpanIds at Span,
    /// An event's name.
    SpanEventName at SpanEvent,
    /// An attribute of an event.
    SpanEventAttributes at SpanEvent,
    /// A link's `tracestate`.
    SpanLinkTraceState at SpanLink,
    /// An attribute of a link.
    SpanLinkAttributes at SpanLink,
    /// An id of a link that is not one.
    SpanLinkIds at SpanLink,
    /// A log record's severity text.
    LogSeverityText at Log,
    /// A log record's body.
    LogBody at Log,
    /// An attribute of a log record.
    LogAttributes at Log,
    /// A log record's event name.
    LogEventName at Log,
    /// An id of a log record that is not one.
    LogIds at Log,
    /// A metric's name.
    MetricName at Metric,
    /// A metric's description.
    MetricDescription at Metric,
    /// A metric's unit.
    MetricUnit at Metric,
    /// A metric's metadata.
    MetricMetadata at Metric,
    /// An attribute of a data point.
    DatapointAttributes at DataPoint,
    /// An attribute of an exemplar of a data point.
    ExemplarAttributes at DataPoint,
    /// An id of an exemplar that is not one.
    ExemplarIds at DataPoint,
}

impl Place {
    /// The place of the contract's number, and whether it is within a list or a map.
    fn of(number: u8) -> (Place, bool) {
        let place = usize::from(number & 127).checked_sub(1).and_then(|at| Place::ALL.get(at));
        (place.copied().unwrap_or(Place::Unknown), number & 128 != 0)
    }

    /// The contract's number; 0 of what is not known.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn number(self) -> u8 {
        Place::ALL.iter().position(|place| *place == self).map_or(0, |at| at as u8 + 1)
    }
}
