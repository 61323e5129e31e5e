//! Plots are drawings that others can open: well-formed SVG, PNG of the right size.

use ringmq_bench::plot::{
    self, Bar, BarGroup, BarPlot, BarSection, Colour, Curve, CurvePanel, CurvePlot, Map, MapPanel,
};
use svg::node::element::tag::Type;
use svg::parser::Event;

/// Every text of the drawing, after checking that each element ends that begins.
fn texts(svg: &str) -> Vec<String> {
    let (mut open, mut texts) = (Vec::new(), Vec::new());
    for event in svg::read(svg).unwrap() {
        match event {
            Event::Error(error) => panic!("{error:?}"),
            Event::Tag(name, Type::Start, _) => open.push(name.to_string()),
            Event::Tag(name, Type::End, _) => assert_eq!(open.pop().as_deref(), Some(name)),
            Event::Text(text) if open.last().is_some_and(|name| name == "text") => {
                texts.push(text.to_string());
            }
            _ => {}
        }
    }
    assert!(open.is_empty(), "{open:?}");
    texts
}

/// Width and height that the drawing states.
fn size_of(svg: &str) -> (u32, u32) {
    let attributes = svg::read(svg).unwrap().find_map(|event| match event {
        Event::Tag("svg", Type::Start, attributes) => Some(attributes),
        _ => None,
    });
    let attributes = attributes.unwrap();
    let number = |name: &str| attributes[name].parse().unwrap();
    (number("width"), number("height"))
}

fn check(name: &str, svg: &str, expected: &[&str]) {
    let texts = texts(svg);
    for text in expected {
        assert!(texts.iter().any(|found| found.contains(text)), "{text} in {texts:?}");
    }
    let dir = tempfile::tempdir().unwrap();
    plot::write(dir.path(), name, svg).unwrap();
    let png = std::fs::read(dir.path().join(format!("{name}.png"))).unwrap();
    assert!(png.starts_with(b"\x89PNG\r\n\x1a\n"));
    let at = |from: usize| u32::from_be_bytes(png[from..from + 4].try_into().unwrap());
    let (width, height) = size_of(svg);
    assert_eq!((at(16), at(20)), ((width * 3).div_ceil(2), (height * 3).div_ceil(2)));
    // To look at: RINGMQ_PLOTS=/tmp/plots cargo test -p ringmq-bench --test plots
    if let Some(dir) = std::env::var_os("RINGMQ_PLOTS") {
        plot::write(dir.as_ref(), name, svg).unwrap();
    }
}

fn bar(colour: Colour, value: f64, spread: Option<(f64, f64)>, note: &str) -> Bar {
    Bar { colour, value, spread, note: note.into() }
}

#[test]
fn bars_have_their_figures_and_notes() {
    let group = |title: &str, scale: f64| BarGroup {
        title: title.into(),
        bars: vec![
            bar(Colour::BLUE, 935.0 * scale, Some((900.0 * scale, 960.0 * scale)), ""),
            bar(Colour::VERMILLION, 29.0 * scale, None, ""),
            bar(
                Colour::GREEN,
                340.0 * scale,
                Some((300.0 * scale, 345.0 * scale)),
                "63 per request",
            ),
        ],
    };
    let plot = BarPlot {
        title: "Messages per second".into(),
        subtitle: "medians of 3 rounds; whiskers from the least to the most".into(),
        axis: "share of the fastest in its group".into(),
        legend: vec![
            ("ringmq".into(), Colour::BLUE),
            ("Apache RocketMQ 5.5.0".into(), Colour::VERMILLION),
            ("Apache Kafka 4.3.1".into(), Colour::GREEN),
        ],
        sections: vec![
            BarSection {
                title: "Closed-loop maximum, answered before it is on disk".into(),
                groups: vec![
                    group("1 KiB, one per request", 1000.0),
                    group("128 B, best batching of each < & >", 4000.0),
                ],
            },
            BarSection {
                title: "Durable".into(),
                groups: vec![group("1 KiB, 16 connections", 7.0)],
            },
        ],
    };
    check("bars", &plot.draw(), &["Messages per second", "935 k", "29 k", "63 per request", "203"]);
}

#[test]
fn percentile_curves_have_ticks_and_units() {
    let curve = |name: &str, i: usize, scale: f64| Curve {
        name: name.into(),
        colour: Colour::of_series(i).0,
        dashes: Colour::of_series(i).1,
        points: (0..60)
            .map(|i| (1.0 - 0.8f64.powi(i), scale * (1.0 + f64::from(i).powi(2) / 40.0)))
            .collect(),
    };
    let panel = |title: &str, n: usize| CurvePanel {
        title: title.into(),
        note: "open loop, 14,000 msg/s".into(),
        curves: (0..n)
            .map(|i| {
                curve(
                    ["ringmq", "Apache RocketMQ", "Apache Kafka"][i],
                    i,
                    30.0 * 6f64.powi(i as i32),
                )
            })
            .collect(),
    };
    let plot = CurvePlot {
        title: "Latency".into(),
        subtitle: "from the intended time".into(),
        panels: vec![panel("half of the slowest", 3), panel("tail", 2), panel("none", 0)],
    };
    check(
        "curves",
        &plot.draw(),
        &["99.99", "percentile", "Apache Kafka", "100 µs", "nothing measured"],
    );
}

fn map() -> Map {
    let rows = ["copy", "mmap", "gather", "sendfile", "splice", "send-zc", "direct"];
    let columns = ["4K", "16K", "64K", "256K", "1M", "4M", "16M"];
    let values = |turn: f64| {
        let row = |r: usize| {
            let figure = |c: usize| {
                (!(r == 4 && c < 2))
                    .then(|| 0.4 + (r as f64 * turn + c as f64 * 0.7).sin().abs() * 5.0)
            };
            (0..columns.len()).map(figure).collect()
        };
        (0..rows.len()).map(row).collect()
    };
    Map {
        title: "File to socket".into(),
        subtitle: "one connection, receiver copies".into(),
        rows: rows.map(String::from).to_vec(),
        columns: columns.map(String::from).to_vec(),
        column_axis: "bytes per piece".into(),
        unit: "GB/s".into(),
        panels: vec![
            MapPanel { title: "hot".into(), values: values(1.0) },
            MapPanel { title: "cold".into(), values: values(1.7) },
        ],
    }
}

#[test]
fn a_map_shows_every_cell_and_says_which_are_missing() {
    let map = map();
    let svg = map.draw_cells();
    check("map-cells", &svg, &["sendfile", "256K", "hot", "cold", "GB/s", "bytes per piece"]);
    let dashes = texts(&svg).iter().filter(|text| *text == "–").count();
    assert_eq!(dashes, 4);
    check("map-lines", &map.draw_lines(), &["sendfile", "256K", "hot", "cold", "GB/s"]);
}

#[test]
fn the_same_figures_make_the_same_bytes() {
    let (a, b) = (map().draw_cells(), map().draw_cells());
    assert_eq!(a, b);
    assert_eq!(plot::to_png(&a).unwrap(), plot::to_png(&b).unwrap());
}
