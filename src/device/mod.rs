//! Sound devices and files: what plays and captures at the edge.
