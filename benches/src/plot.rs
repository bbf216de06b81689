//! The goals as a picture: how far each of them is met.

use maud::{PreEscaped, html};

use crate::report::Goal;

const WIDTH: f64 = 1_100.0;
const LEFT: f64 = 430.0;
const RIGHT: f64 = 830.0;
const ROW: f64 = 24.0;
const TOP: f64 = 56.0;

/// Where on the page a part is: a tenth to ten times the goal, each factor equally wide.
fn x(part: f64) -> f64 {
    LEFT + (RIGHT - LEFT) * (part.clamp(0.1, 10.0).log10() + 1.0) / 2.0
}

/// An SVG with a bar for each goal from the line that is the goal, to the right where it is more than met, and a line
/// from the worst round to the best.
pub fn goals(goals: &[Goal], heading: &str) -> String {
    let height = TOP + ROW * goals.len() as f64 + 30.0;
    let line = |part: f64, bottom: f64| {
        html! {
            line x1=(x(part)) x2=(x(part)) y1=(TOP - 8.0) y2=(bottom) stroke="#bbb" stroke-width=(if part == 1.0 { 2 } else { 1 }) {}
            text x=(x(part)) y=(TOP - 14.0) text-anchor="middle" fill="#666" { (part) "×" }
        }
    };
    let picture = html! {
        (PreEscaped(r#"<?xml version="1.0" encoding="UTF-8"?>"#))
        svg xmlns="http://www.w3.org/2000/svg" viewBox=(format!("0 0 {WIDTH} {height}")) font-family="sans-serif" font-size="12" {
            rect width="100%" height="100%" fill="white" {}
            text x="12" y="20" font-size="14" { "How far each goal is met (" (heading) ")" }
            @for part in [0.1, 0.5, 1.0, 2.0, 5.0, 10.0] { (line(part, height - 24.0)) }
            @for (number, goal) in goals.iter().enumerate() {
                @let y = TOP + ROW * number as f64;
                @let (at, ends) = (x(goal.part(goal.measured.median)), [goal.measured.low, goal.measured.high].map(|end| x(goal.part(end))));
                text x=(LEFT - 12.0) y=(y + 15.0) text-anchor="end" { (goal.what) }
                rect x=(at.min(x(1.0))) y=(y + 3.0) width=((at - x(1.0)).abs()) height=(ROW - 8.0)
                    fill=(if goal.is_met() { "#4a8" } else { "#c54" }) {}
                line x1=(ends[0]) x2=(ends[1]) y1=(y + ROW / 2.0 - 1.0) y2=(y + ROW / 2.0 - 1.0) stroke="black" {}
                text x=(RIGHT + 12.0) y=(y + 15.0) { (goal.limit()) ": " (goal.measured()) }
            }
        }
    };
    picture.into_string()
}
