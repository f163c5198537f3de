//! scraper: HTML pages are parsed into trees, searched with CSS selectors, and written back.
//!
//! Stands for crawlers, mail readers and page filters. The parser is html5ever, and the selectors are Servo's too.
//!
//! Requests: 0.8 M, 98 % for 256 bytes or less, a third for 16 or less.
//!
//! Caveat: the nodes of a page lie in one vector, which grows past 256 bytes and goes to the backend. Only names,
//! attributes and texts are blocks of their own. Texts of up to 8 bytes are none, and long texts share the block of the
//! input. The parser's state machine takes much of the time.

use std::fmt::Write;

use scraper::{ElementRef, Html, Selector};
use versus::workload::{Group, Run, Scale, Workload, checksum};

use super::text::Source;

pub(crate) const WORKLOAD: Workload = Workload {
    name: "scraper",
    group: Group::Program,
    about: "HTML pages to trees, searched with CSS selectors (scraper, html5ever)",
    operations: None,
    prepare,
};

const SELECTORS: [&str; 6] = [
    "article.offer > h2 a[href]",
    "ul.tags li:not(.old)",
    "table tr:nth-child(2n) td:last-child",
    "div.text p em, div.text p strong",
    "nav a[href^='/topic/']",
    "[data-id] .price",
];
const PAGES: usize = 8;
const OFFERS: usize = 40;
const FULL_PASSES: usize = 36;

fn prepare(scale: Scale) -> Run {
    let mut source = Source::new(13, 1500);
    let pages: Vec<String> = (0..PAGES).map(|_| page(&mut source)).collect();
    let passes = scale.of(FULL_PASSES);
    Box::new(move || {
        let selectors = SELECTORS.map(|selector| Selector::parse(selector).expect("the selector is correct"));
        let mut results = Vec::new();
        for _ in 0..passes {
            results.extend(pages.iter().map(|page| scrape(page, &selectors)));
        }
        checksum(&results)
    })
}

/// Checksum of all texts and attributes that the selectors find, and of the page as text.
fn scrape(page: &str, selectors: &[Selector]) -> u64 {
    let document = Html::parse_document(page);
    let found: Vec<Vec<(String, Option<String>)>> =
        selectors.iter().map(|selector| document.select(selector).map(fields).collect()).collect();
    checksum(&(found, document.html()))
}

fn fields(element: ElementRef) -> (String, Option<String>) {
    (element.text().collect(), element.value().attr("href").map(str::to_owned))
}

/// A page of a shop, with some of the mistakes that pages have: open paragraphs and list items, bare ampersands.
fn page(source: &mut Source) -> String {
    let mut page = format!("<!doctype html><html lang=en><head><meta charset=utf-8><title>{}</title>", source.words(4));
    page.push_str("<style>.offer { margin: 1em }</style></head><body><nav class='top wide'>");
    for _ in 0..12 {
        let count = source.below(100);
        write!(page, "<a href='/topic/{}'>{count}</a> ", source.word()).expect("a string takes all text");
    }
    page.push_str("</nav><main id=content>\n");
    for _ in 0..OFFERS {
        offer(&mut page, source);
    }
    page.push_str("</main><footer>&copy; 2024 &mdash; all rights</footer></body></html>");
    page
}

fn offer(page: &mut String, source: &mut Source) {
    let (id, cents) = (source.below(100_000), source.below(100));
    let class = source.pick(&["offer", "offer sale", "offer sold-out", "note"]);
    write!(
        page,
        "<article class='{class}' data-id={id} style='order: {cents}'><h2><a href='/offer/{id}?from=list&page=2'>"
    )
    .expect("a string takes all text");
    write!(page, "{}</a></h2>\n<div class=text>", source.words(5)).expect("a string takes all text");
    for _ in 0..3 {
        let (words, stress, more) = (source.words(9), source.words(2), source.words(12));
        writeln!(page, "<p>{words} <em>{stress}</em> {more} &amp; <strong title='{stress}'>{stress}</strong>.<br>")
            .expect("a string takes all text");
    }
    page.push_str("</div><ul class=tags>");
    for at in 0..5 {
        let class = if at % 3 == 2 { " class=old" } else { "" };
        write!(page, "<li{class}>{}", source.word()).expect("a string takes all text");
    }
    page.push_str("</ul><table><tr><th>size<th>price</tr>");
    for _ in 0..4 {
        write!(page, "<tr><td>{} cm<td class=price>{}.{cents:02} EUR", source.below(90), source.below(500))
            .expect("a string takes all text");
    }
    page.push_str("</table></article>\n");
}
