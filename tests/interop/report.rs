//! The matrix in `interop/README.md`, written from a run.

use crate::{Outcome, Row};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

const BEGIN: &str = "<!-- from here on written by `cargo test --test interop` -->";
const END: &str = "<!-- to here -->";

/// Replaces the generated part of the README by this run.
pub(crate) fn write_matrix(
    rows: &[&Row],
    outcomes: &[Outcome],
    versions: &BTreeMap<&str, Result<String, String>>,
) -> Result<(), String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/README.md");
    let text = fs::read_to_string(&file).map_err(|e| e.to_string())?;
    let (head, rest) = text.split_once(BEGIN).ok_or("interop/README.md: no mark where the matrix begins")?;
    let (_, tail) = rest.split_once(END).ok_or("interop/README.md: no mark where the matrix ends")?;
    let mut table = "\n| peer | version | scenario | result | measured |\n|---|---|---|---|---|\n".to_owned();
    for (row, outcome) in rows.iter().zip(outcomes) {
        let version = match versions.get(row.peer) {
            Some(Ok(version)) => version,
            Some(Err(_)) | None => "?",
        };
        let (result, figures) = match outcome {
            Ok(figures) => ("ok", figures.as_str()),
            Err(why) => ("**failed**", why.as_str()),
        };
        let figures = figures.replace('|', "/");
        writeln!(table, "| {} | {version} | {} | {result} | {figures} |", row.peer, row.scenario)
            .map_err(|e| e.to_string())?;
    }
    fs::write(&file, format!("{head}{BEGIN}\n{table}\n{END}{tail}")).map_err(|e| e.to_string())
}
