//! Every code that the validator gives, in one table.

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing starts.
    Error,
    /// It starts, and someone should look.
    Warning,
}

impl Severity {
    /// As printed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

macro_rules! codes {
    ($($variant:ident $code:literal $severity:ident $meaning:literal;)*) => {
        /// What kind of problem it is. A code never changes its meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $(#[doc = $meaning] $variant,)* }

        impl Code {
            /// Every code, in order.
            pub const ALL: &[Code] = &[$(Code::$variant,)*];

            /// As printed: `E0201`, `W0601`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $code,)* }
            }

            /// Whether it stops the start.
            pub const fn severity(self) -> Severity {
                match self { $(Code::$variant => Severity::$severity,)* }
            }

            /// One line on what it means.
            pub const fn meaning(self) -> &'static str {
                match self { $(Code::$variant => $meaning,)* }
            }
        }
    };
}

codes! {
    // Reading the file.
    Unreadable          "E0101" Error "the file cannot be read";
    TooLarge            "E0102" Error "the file is larger than the limit";
    NotText             "E0103" Error "the file is not UTF-8 text";
    Syntax              "E0104" Error "the text is not YAML";
    TooDeep             "E0105" Error "nested deeper than the limit";
    TooManyNodes        "E0106" Error "more values than the limit, aliases expanded";
    DuplicateKey        "E0107" Error "a key stands twice in one map";
    SeveralDocuments    "E0108" Error "more than one YAML document in a file";
    UnusableYaml        "E0109" Error "a YAML feature that a configuration cannot use";
    Empty               "E0110" Error "the file holds nothing";
    // Substitution.
    BadReference        "E0121" Error "a ${...} that cannot be read";
    UnsetVariable       "E0122" Error "an environment variable is not set where a value is needed";
    ReferenceScheme     "E0123" Error "a ${scheme:...} of an unknown or unsupported scheme";
    IncludeCycle        "E0124" Error "a file that includes itself";
    TooManyFiles        "E0125" Error "more included files, or bytes of them, than the limit";
    // Names and structure.
    UnknownKey          "E0201" Error "a key that does not exist";
    UnknownType         "E0202" Error "a component type that does not exist";
    Undefined           "E0203" Error "a name in a pipeline that is not defined";
    Missing             "E0204" Error "a required key is missing";
    NoEnds              "E0205" Error "a pipeline without receivers or exporters";
    UnknownSignal       "E0206" Error "a pipeline of an unknown signal";
    BadName             "E0207" Error "a component or pipeline name that cannot be used";
    NamedTwice          "E0208" Error "a component stands twice in one list";
    NoPipelines         "E0209" Error "no pipeline is defined";
    AddressTaken        "E0210" Error "two parts listen on the same address";
    WrongSignal         "E0211" Error "a processor in a pipeline of a signal that it does not take";
    BadPath             "E0225" Error "a path of a page that cannot be asked for";
    AdminWithoutTls     "E0230" Error "the admin API can be reached from other machines, and has no TLS";
    BadCertificate      "E0231" Error "a file that is no certificate, or not the key of one";
    // Values.
    WrongType           "E0301" Error "a value of the wrong type";
    OutOfRange          "E0302" Error "a number outside of its range";
    BadDuration         "E0303" Error "a duration that cannot be read";
    BadAddress          "E0304" Error "an address to listen on that cannot be used";
    BadEndpoint         "E0305" Error "an address to send to that cannot be used";
    NotAChoice          "E0306" Error "a text that is none of the valid ones";
    BadHeader           "E0307" Error "a header that cannot be sent";
    BadDigest           "E0308" Error "a digest that is not SHA-256 in hex";
    Contradiction       "E0309" Error "two values that contradict each other";
    Component           "E0310" Error "a component that cannot be loaded, or refuses its configuration";
    BadKey              "E0311" Error "a key for hashes that cannot be used";
    Ungranted           "E0312" Error "a component that asks for a capability it was not granted";
    BadTable            "E0313" Error "a file that is no table";
    // There in the Collector, or planned, but not here.
    UnsupportedComponent "E0401" Error "a component that is not supported yet";
    UnsupportedKey       "E0402" Error "a key that is not supported yet";
    UnsupportedValue     "E0403" Error "a value that is not supported yet";
    UnsupportedGrant     "E0404" Error "a capability that cannot be granted";
    // Warnings.
    Unused              "W0601" Warning "a component that no pipeline uses";
    OpenAddress         "W0602" Warning "a listener that other machines can reach";
    LimiterNotFirst     "W0603" Warning "memory_limiter is not the first processor";
    DetailedDebug       "W0604" Warning "debug prints whole records";
    OldName             "W0605" Warning "an old name";
    UnsetIsEmpty        "W0606" Warning "an environment variable is not set, its value is empty";
    NoEffect            "W0607" Warning "a key without effect";
    AdjustedValue       "W0608" Warning "a default gives way to another value";
    PassesUnjudged      "W0609" Warning "a stage that edits lets through what it did not judge";
    BatchFirst          "W0610" Warning "batch before a tail sampler";
    OutOfReach          "W0611" Warning "a bound that is never reached, since another is less";
    AnsweredEarlier     "W0612" Warning "senders are answered before exporters have sent, although these are waited for";
    PayloadOnDisk       "W0620" Warning "telemetry is written to a file";
}
