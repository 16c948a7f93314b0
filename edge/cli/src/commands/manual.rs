//! `verso man`: the help as manual pages.

use std::fs;

use clap::CommandFactory as _;
use clap_mangen::{Man, generate_to};

use crate::args::{self, Cli};
use crate::output;

pub(super) fn run(arguments: &args::Man) -> anyhow::Result<()> {
    if let Some(folder) = &arguments.dir {
        fs::create_dir_all(folder)?;
        generate_to(Cli::command(), folder)?;
        return Ok(output::line(format!("Wrote manual pages to {}", folder.display()))?);
    }
    let mut page = Vec::new();
    Man::new(Cli::command()).render(&mut page)?;
    Ok(output::part(&String::from_utf8(page)?)?)
}
