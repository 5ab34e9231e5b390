//! Contents against references that decode.

mod placement;
