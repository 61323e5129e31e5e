//! How far a run is, and how long it takes yet: a bar on a terminal, lines elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

pub struct Progress {
    bar: Option<ProgressBar>,
    begun: Instant,
    done: u64,
    all: u64,
    /// Planned seconds of what is done and of everything.
    planned_done: f64,
    planned_all: f64,
}

impl Progress {
    pub fn new(all: u64, planned_all: f64) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(all), ProgressDrawTarget::stderr());
            let style = "{bar:30} {pos}/{len}  {msg}";
            bar.set_style(ProgressStyle::with_template(style).expect("a template of ours"));
            bar.enable_steady_tick(Duration::from_millis(500));
            bar
        });
        Progress { bar, begun: Instant::now(), done: 0, all, planned_done: 0.0, planned_all }
    }

    pub fn begin(&self, what: &str) {
        let what = format!("{what}  ({} left)", minutes(self.left()));
        match &self.bar {
            Some(bar) => bar.set_message(what),
            None => println!("[{}/{}] {what}", self.done + 1, self.all),
        }
    }

    /// `planned`: the seconds that were; `outcome`: what came of it, in a line.
    pub fn end(&mut self, what: &str, planned: f64, outcome: &str) {
        self.done += 1;
        self.planned_done += planned;
        let line = format!("{what}: {outcome}");
        match &self.bar {
            Some(bar) => {
                bar.println(line);
                bar.set_position(self.done);
            }
            None => println!("    {line}"),
        }
    }

    /// By the plan, stretched by how the plan held so far.
    fn left(&self) -> f64 {
        let left = self.planned_all - self.planned_done;
        match self.planned_done > 0.0 {
            true => left * self.begun.elapsed().as_secs_f64() / self.planned_done,
            false => left,
        }
    }
}

fn minutes(seconds: f64) -> String {
    match seconds {
        s if s < 100.0 => format!("about {s:.0} s"),
        s if s < 6_000.0 => format!("about {:.0} min", s / 60.0),
        s => format!("about {:.1} h", s / 3600.0),
    }
}
