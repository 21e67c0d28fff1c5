//! The real binary: its output, texts and exit codes.
