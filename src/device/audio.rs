//! Sound cards through cpal.
use crate::driver::sound::{Key, Opened, Report};

/// The thread that opens and closes devices.
#[derive(Debug)]
pub(crate) struct Control {
    report: Report,
}

impl Control {
    pub(crate) fn new(report: Report) -> Self {
        Self { report }
    }

    pub(crate) fn open(&mut self, key: Key, name: &str, capture: bool) -> std::io::Result<()> {
        let slug = if capture { "audio.no-input" } else { "audio.no-output" };
        self.report.send(key, Opened::Failed(slug, format!("{name}: no sound card")));
        Ok(())
    }
}
