// SPDX-License-Identifier: GPL-2.0

//! Pictures of the tables.

use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;
use plotters::style::text_anchor::Pos;
use plotters::style::text_anchor::VPos;

use super::commas;

pub const BLUE: RGBColor = RGBColor(0x3b, 0x6e, 0xa5);
pub const DARK: RGBColor = RGBColor(0x22, 0x22, 0x22);
pub const RED: RGBColor = RGBColor(0xc0, 0x50, 0x30);
pub const YELLOW: RGBColor = RGBColor(0xd5, 0x9a, 0x30);
pub const LIGHT_BLUE: RGBColor = RGBColor(0xa9, 0xc6, 0xe6);
const FONT: &str = "sans-serif";

/// Returns a text that is left of, right of or around a point, and halfway up at it.
fn text(
    words: &str,
    at: (i32, i32),
    size: u32,
    color: RGBColor,
    anchor: HPos,
) -> Text<'static, (i32, i32), String> {
    let style = (FONT, size)
        .into_font()
        .color(&color)
        .pos(Pos::new(anchor, VPos::Center));
    Text::new(words.to_owned(), at, style)
}

/// Draws a pair of bars for each row, and a line at 1.00.
pub fn pairs(
    path: &Path,
    title: &str,
    names: [&str; 2],
    rows: &[(String, [f64; 2])],
    note: &str,
) -> Result<()> {
    const LEFT: i32 = 320;
    const TOP: i32 = 76;
    const BAR: i32 = 21;
    const GAP: i32 = 12;
    const COLORS: [(RGBColor, RGBColor); 2] = [(BLUE, WHITE), (LIGHT_BLUE, DARK)];
    let most = rows
        .iter()
        .flat_map(|(_, ratios)| *ratios)
        .fold(1.0, f64::max);
    let across = |ratio: f64| LEFT + (ratio / most * 560.0) as i32;
    let bottom = TOP + i32::try_from(rows.len())? * (2 * BAR + GAP);

    let root = SVGBackend::new(path, (960, (bottom + 36).unsigned_abs())).into_drawing_area();
    root.fill(&WHITE)?;
    root.draw(&text(title, (16, 20), 17, DARK, HPos::Left))?;
    for ((name, (color, _)), x) in names.iter().zip(COLORS).zip([LEFT, LEFT + 150]) {
        root.draw(&Rectangle::new([(x, 42), (x + 14, 56)], color.filled()))?;
        root.draw(&text(name, (x + 20, 49), 14, DARK, HPos::Left))?;
    }
    let mut y = TOP;
    for (name, ratios) in rows {
        root.draw(&text(name, (LEFT - 10, y + BAR - 2), 14, DARK, HPos::Right))?;
        for (ratio, (color, on_color)) in ratios.iter().zip(COLORS) {
            root.draw(&Rectangle::new(
                [(LEFT, y), (across(*ratio), y + BAR - 3)],
                color.filled(),
            ))?;
            root.draw(&text(
                &format!("{ratio:.2}"),
                (LEFT + 6, y + BAR / 2 - 1),
                14,
                on_color,
                HPos::Left,
            ))?;
            y += BAR;
        }
        y += GAP;
    }
    let line = |x: i32| [(x, TOP - 12), (x, bottom)];
    root.draw(&PathElement::new(line(LEFT), DARK))?;
    root.draw(&DashedPathElement::new(
        line(across(1.0)),
        5,
        4,
        RED.stroke_width(2),
    ))?;
    root.draw(&text(
        "1.00",
        (across(1.0), bottom + 12),
        14,
        RED,
        HPos::Center,
    ))?;
    root.draw(&text(note, (16, bottom + 22), 13, DARK, HPos::Left))?;
    root.present().with_context(|| path.display().to_string())
}

pub struct Curve<'a> {
    pub name: &'a str,
    pub color: RGBColor,
    pub dashed: bool,
    /// How many pixels the name is below the end.
    pub shift: i32,
    pub points: Vec<(f64, f64)>,
}

/// Draws instructions over the number of cgroups, both logarithmic.
pub fn curves(path: &Path, title: &str, curves: &[Curve]) -> Result<()> {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let over = |of: fn(&(f64, f64)) -> f64| {
        let (low, high) = points()
            .map(of)
            .fold((f64::MAX, f64::MIN), |(low, high), x| {
                (low.min(x), high.max(x))
            });
        10f64.powf(low.log10().floor())..10f64.powf(high.log10().ceil())
    };
    anyhow::ensure!(
        points().next().is_some(),
        "there is nothing to draw in {}",
        path.display()
    );

    let root = SVGBackend::new(path, (860, 460)).into_drawing_area();
    root.fill(&WHITE)?;
    root.draw(&text(title, (16, 20), 17, DARK, HPos::Left))?;
    let mut chart = ChartBuilder::on(&root)
        .margin_top(50)
        .margin_right(240)
        .x_label_area_size(50)
        .y_label_area_size(100)
        .build_cartesian_2d(
            over(|point| point.0).log_scale(),
            over(|point| point.1).log_scale(),
        )?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_desc("cgroups")
        .x_label_formatter(&|cgroups| commas(*cgroups, 0))
        .y_label_formatter(&|instructions| commas(*instructions, 0))
        .label_style((FONT, 14))
        .draw()?;
    for curve in curves {
        let style = curve.color.stroke_width(2);
        let points = curve.points.iter().copied();
        if curve.dashed {
            chart.draw_series(DashedLineSeries::new(points, 5, 4, style))?;
        } else {
            chart.draw_series(LineSeries::new(points, style))?;
        }
        if let Some(end) = curve.points.last() {
            let (x, y) = chart.backend_coord(end);
            let name = format!("{}: {}", curve.name, commas(end.1, 0));
            root.draw(&text(
                &name,
                (x + 8, y + curve.shift),
                14,
                curve.color,
                HPos::Left,
            ))?;
        }
    }
    root.present().with_context(|| path.display().to_string())
}

pub struct Timeline<'a> {
    pub name: &'a str,
    pub color: RGBColor,
    /// Seconds and milliseconds.
    pub points: Vec<(f64, f64)>,
    /// A second that gets a dot.
    pub mark: Option<f64>,
}

/// Draws milliseconds, logarithmic, over seconds.
pub fn timelines(path: &Path, title: &str, lines: &[Timeline]) -> Result<()> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let last = points().map(|point| point.0).fold(1.0, f64::max);
    let most = points().map(|point| point.1).fold(10.0, f64::max);
    let root = SVGBackend::new(path, (960, 460)).into_drawing_area();
    root.fill(&WHITE)?;
    root.draw(&text(title, (16, 20), 17, DARK, HPos::Left))?;
    let mut chart = ChartBuilder::on(&root)
        .margin_top(50)
        .margin_right(170)
        .x_label_area_size(50)
        .y_label_area_size(90)
        .build_cartesian_2d(
            0.0..last,
            (1.0..10f64.powf(most.log10().ceil())).log_scale(),
        )?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_desc("seconds after the start of the reports")
        .y_desc("ms")
        .x_label_formatter(&|seconds| commas(*seconds, 0))
        .y_label_formatter(&|ms| commas(*ms, 0))
        .label_style((FONT, 14))
        .draw()?;
    for line in lines {
        let style = line.color.stroke_width(2);
        chart.draw_series(LineSeries::new(line.points.iter().copied(), style))?;
        let marked = line.mark.and_then(|mark| {
            let before = line.points.iter().rev().find(|point| point.0 <= mark)?;
            Some((mark, before.1))
        });
        chart.draw_series(marked.map(|at| Circle::new(at, 6, line.color.filled())))?;
        if let Some(end) = line.points.last() {
            let (x, y) = chart.backend_coord(end);
            root.draw(&text(line.name, (x + 8, y), 14, line.color, HPos::Left))?;
        }
    }
    root.present().with_context(|| path.display().to_string())
}
