//! Receivers: sockets, OTLP's protocols, admission.
