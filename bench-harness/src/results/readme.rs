//! The part of a README that is made from a results folder, between two
//! comments; everything else in it is somebody's own words.

use std::io;

const BEGIN: &str = "<!-- performance: begin";
const END: &str = "<!-- performance: end -->";

/// `text` with `section` between the markers, which stay.
pub fn replace_section(text: &str, section: &str, source: &str) -> io::Result<String> {
    let missing = |what: &str| {
        let why = format!("no line `{what}`: put the markers where the section belongs");
        io::Error::new(io::ErrorKind::InvalidData, why)
    };
    let begin = at_line(text, BEGIN).ok_or_else(|| missing(BEGIN))?;
    let end = at_line(&text[begin..], END).ok_or_else(|| missing(END))? + begin;
    let made = format!("{BEGIN} (made by `ringmq-bench report --readme` from {source}) -->");
    Ok(format!("{}{made}\n\n{}\n\n{}", &text[..begin], section.trim(), &text[end..]))
}

/// Where a line begins that begins so.
fn at_line(text: &str, start: &str) -> Option<usize> {
    text.match_indices(start).map(|(at, _)| at).find(|&at| at == 0 || text[..at].ends_with('\n'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const README: &str = "# r\n\nwords `<!-- performance: begin` in a line\n\n\
        <!-- performance: begin -->\nold\n<!-- performance: end -->\n\nmore words\n";

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let once = replace_section(README, "| new |\n", "results/x").unwrap();
        let before = README.split("<!-- performance: begin -->").next().unwrap();
        assert!(once.starts_with(before));
        assert!(once.ends_with("\n<!-- performance: end -->\n\nmore words\n"));
        assert!(once.contains("\n| new |\n") && !once.contains("old"));
        assert!(once.contains("from results/x) -->"));
        assert_eq!(replace_section(&once, "| new |", "results/x").unwrap(), once);
    }

    #[test]
    fn without_both_markers_nothing_is_written() {
        for text in ["# r\n", "<!-- performance: begin -->\n", "<!-- performance: end -->\n"] {
            assert!(replace_section(text, "new", "x").is_err(), "{text}");
        }
        // In the wrong order they enclose nothing.
        let wrong = "<!-- performance: end -->\n<!-- performance: begin -->\n";
        assert!(replace_section(wrong, "new", "x").is_err());
    }
}
