//! What `cargo xtask bench state` measures: conn-state, and what a user would write himself, behind one face.
//!
//! | command | does |
//! | --- | --- |
//! | `write WHO` | lets peers come and go from one thread, with readers or somebody who asks, and prints the rate |
//! | `hold WHO` | lets peers come and stay, and prints what each of them takes |

mod measure;
mod readers;
mod stores;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// The allocator of the `bowline` binary, which this stands for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Write {
        who: Who,
        #[command(flatten)]
        how: How,
    },
    Hold {
        who: Who,
        #[arg(long)]
        peers: u32,
    },
}

/// Who keeps the states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Who {
    /// conn-state's core, which belongs to one thread.
    Tracker,
    /// Its thread-safe handle.
    Shared,
    /// A tokio watch channel a peer.
    Watch,
    /// A map behind a lock, and a tokio broadcast channel.
    Broadcast,
}

/// What goes on while peers come and go.
#[derive(Debug, Args)]
pub(crate) struct How {
    /// How many there are
    #[arg(long)]
    pub(crate) peers: u32,
    /// How often each comes and goes, which are three transitions
    #[arg(long)]
    pub(crate) rounds: u32,
    /// Those who read every event
    #[arg(long, default_value_t = 0)]
    pub(crate) readers: usize,
    /// Those who subscribe and never read
    #[arg(long, default_value_t = 0)]
    pub(crate) idlers: usize,
    /// Whether somebody asks for the state of one peer after the other
    #[arg(long)]
    pub(crate) ask: bool,
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Write { who, how } => measure::write(who, &how),
        Command::Hold { who, peers } => measure::hold(who, peers),
    }
}
