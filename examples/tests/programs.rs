//! Each example does what the comment at its head says. The tests run the examples in a short form.
//!
//! To see them fail: leave out the waiting blocks in `draw_pool` of the heap map, let `rate` of the live view return 0,
//! or let `plant` of the leaks return the model. The programs `prometheus` and `per_request` check themselves: let
//! `counted` begin a new sum at each poll.
//!
//! `cargo test -p poolmalloc-examples --test programs`

use roxmltree::Document;
use std::path::Path;
use std::process::Command;

/// Runs a program and returns its output. The program must succeed.
fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect("the program can be started");
    let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).expect("it prints text"));
    assert!(output.status.success(), "{program} {arguments:?}: {}\n{stdout}{stderr}", output.status);
    stdout
}

#[test]
fn heap_map_draws_each_pool() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("heap-map.svg");
    output(env!("CARGO_BIN_EXE_heap_map"), &[path.to_str().expect("the path is text")]);
    let text = std::fs::read_to_string(path).expect("the picture was written");
    let picture = Document::parse(&text).expect("it is well-formed XML");

    // The picture has a group for each arena. Each group of an arena has a group for each pool with a class, and the
    // title of that group is the pool's figures.
    let groups = picture.root_element().children().filter(|node| node.has_tag_name("g"));
    let (mut out_of_160, mut waiting_of_120) = (0, 0);
    for arena in groups.clone() {
        let cells = arena.children().filter(|node| node.has_tag_name("g") || node.has_tag_name("path"));
        assert_eq!(cells.count(), 64);
        for pool in arena.children().filter(|node| node.has_tag_name("g")) {
            let title = pool.first_element_child().and_then(|node| node.text()).expect("a pool has a title");
            let figures: Vec<u32> = title.split(' ').filter_map(|word| word.parse().ok()).collect();
            let bars = pool.children().filter(|node| node.has_tag_name("path")).count();
            match figures[..] {
                [_, bytes, out] => {
                    out_of_160 += if bytes == 160 { out } else { 0 };
                    assert_eq!(bars, 1 + usize::from(out > 0), "{title}");
                }
                [_, bytes, out, waiting] => {
                    waiting_of_120 += if bytes == 120 { waiting } else { 0 };
                    assert_eq!(bars, 2 + usize::from(out > 0), "{title}");
                }
                _ => panic!("{title}"),
            }
        }
    }
    assert!(groups.count() > 4);
    // All 1500 blocks of 160 bytes are live. Another thread has freed about half of the 4000 blocks of 120 bytes.
    assert!((1500..1600).contains(&out_of_160), "{out_of_160} blocks of 160 bytes are out");
    assert!((1500..2500).contains(&waiting_of_120), "{waiting_of_120} blocks of 120 bytes wait");
}

#[test]
fn leaks_are_found_and_drawn() {
    let program = env!("CARGO_BIN_EXE_leaks");
    let text = output(program, &[]);
    assert!(text.ends_with("5 unreachable, 240 bytes: 1 direct, 1 indirect, 3 in 1 cycle\n"), "{text}");
    let picture = output(program, &["--dot"]);
    // Four arrows: three are in the ring of the model, its vector and the view, and one leads from the view to its
    // title. The three blocks of the ring are gold.
    assert_eq!((picture.matches(" -> ").count(), picture.matches("gold").count()), (4, 3), "{picture}");
    assert!(output(program, &["--measure", "5000"]).contains("; 0 leaked"));
}

#[test]
fn profile_names_the_places_that_allocate() {
    let program = env!("CARGO_BIN_EXE_profile");
    let text = output(program, &["--mean", "20000"]);
    let live = |function: &str| -> u64 {
        let line = text.lines().find(|line| line.ends_with(function));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    };
    // The answers that are never cleared, and the index itself.
    assert!(live("find_titles") > 1000 && live("add_document") > 1000, "{text}");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let path = |name: &str| folder.join(name).to_str().expect("the path is text").to_owned();
    output(program, &[&path("profile.folded")]);
    let folded = std::fs::read_to_string(path("profile.folded")).expect("the stacks were written");
    assert!(folded.lines().all(|line| line.contains(";main;") || line.contains("::main;")), "{folded}");
    output(program, &[&path("profile.pb.gz")]);
    // Every gzip file begins with these bytes.
    assert_eq!(std::fs::read(path("profile.pb.gz")).expect("the profile was written")[..2], [0x1f, 0x8b]);
}

#[test]
fn live_shows_classes_and_rates() {
    let text = output(env!("CARGO_BIN_EXE_live"), &["--frames", "3"]);
    let rate = text.split("│frees/s").nth(1).and_then(|rest| rest.split('│').next()).expect("the rate is shown");
    let rate: u64 = rate.trim().parse().expect("a rate is a number");
    assert!(rate > 0, "{text}");
    // It depends on timing which classes have blocks by then.
    let sizes = text.lines().filter_map(|line| line.trim_start_matches('│').split_whitespace().next()?.parse().ok());
    let sizes: Vec<u64> = sizes.collect();
    assert!(!sizes.is_empty() && sizes.is_sorted() && sizes.iter().all(|size| size % 8 == 0 && *size <= 256), "{text}");
}

#[test]
fn prometheus_serves_its_metrics() {
    let text = output(env!("CARGO_BIN_EXE_prometheus"), &["--self-test"]);
    assert!(text.contains("tell of the work"), "{text}");
}

#[test]
fn requests_cost_the_same_alone_and_among_others() {
    let text = output(env!("CARGO_BIN_EXE_per_request"), &[]);
    // Nine allocations: six strings, two for a vector that grows once, and the answer. The answer is not freed.
    let figures = text.lines().find_map(|line| line.strip_suffix("to be or not to be"));
    assert_eq!(figures.expect("it is told").split_whitespace().collect::<Vec<_>>(), ["9", "8", "16"], "{text}");
}
