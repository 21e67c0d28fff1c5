//! Front ends: arguments, configuration, console, texts.
