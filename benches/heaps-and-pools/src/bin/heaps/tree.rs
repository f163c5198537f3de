//! Token trees of Rust source: words, literals, signs, and groups in brackets of any depth.

use std::cell::Cell;
use std::mem;
use std::time::Instant;

use allocator_api2::alloc::{Allocator, Global};
use allocator_api2::boxed::Box as BoxIn;
use allocator_api2::vec::Vec as VecIn;
use bumpalo::Bump;
use poolmalloc::{PrivateHeap, SharedPrivateHeap};
use typed_arena::Arena;

use super::{Row, time};

/// Builds trees from the things that the parser finds: the parser calls these functions.
trait Build<'t> {
    type Tree;
    type Trees;
    fn trees(&self) -> Self::Trees;
    fn push(&self, trees: &mut Self::Trees, tree: Self::Tree);
    fn leaf(&self, text: &'t str) -> Self::Tree;
    fn group(&self, open: char, trees: Self::Trees) -> Self::Tree;
}

/// Parses trees up to a closing bracket, or to the end.
fn parse<'t, B: Build<'t>>(build: &B, rest: &mut &'t str) -> B::Trees {
    let mut trees = build.trees();
    loop {
        *rest = rest.trim_start();
        let Some(first) = rest.chars().next() else { return trees };
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let length = match first {
            '(' | '[' | '{' => {
                *rest = &rest[1..];
                let inner = parse(build, rest);
                build.push(&mut trees, build.group(first, inner));
                continue;
            }
            ')' | ']' | '}' => {
                *rest = &rest[1..];
                return trees;
            }
            '/' if rest.starts_with("//") => {
                *rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
                continue;
            }
            '"' => {
                let mut is_escaped = false;
                let end = rest[1..].find(|c| {
                    let was_escaped = mem::replace(&mut is_escaped, false);
                    is_escaped = c == '\\' && !was_escaped;
                    c == '"' && !was_escaped
                });
                end.map_or(rest.len(), |end| end + 2)
            }
            // A character, not a lifetime.
            '\'' if rest[1..].starts_with('\\') => rest[2..].find('\'').map_or(rest.len(), |end| end + 3),
            '\'' if rest[1..].chars().nth(1) == Some('\'') => 2 + rest[1..].chars().next().map_or(0, char::len_utf8),
            _ if is_word(first) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let (text, behind) = rest.split_at(length);
        build.push(&mut trees, build.leaf(text));
        *rest = behind;
    }
}

/// Tree of boxes and vectors in an allocator: a private heap, an arena, or the process's allocator.
enum Boxed<'t, A: Allocator + Copy> {
    Leaf(&'t str),
    Group(char, VecIn<BoxIn<Boxed<'t, A>, A>, A>),
}

struct In<A>(A);

impl<'t, A: Allocator + Copy> Build<'t> for In<A> {
    type Tree = BoxIn<Boxed<'t, A>, A>;
    type Trees = VecIn<Self::Tree, A>;

    fn trees(&self) -> Self::Trees {
        VecIn::new_in(self.0)
    }

    fn push(&self, trees: &mut Self::Trees, tree: Self::Tree) {
        trees.push(tree);
    }

    fn leaf(&self, text: &'t str) -> Self::Tree {
        BoxIn::new_in(Boxed::Leaf(text), self.0)
    }

    fn group(&self, open: char, trees: Self::Trees) -> Self::Tree {
        BoxIn::new_in(Boxed::Group(open, trees), self.0)
    }
}

/// Adds up the text of the trees, so that all rows do the same work and have read all of it.
fn weigh<A: Allocator + Copy>(trees: &[BoxIn<Boxed<'_, A>, A>]) -> usize {
    let weight = |tree: &Boxed<'_, A>| match tree {
        Boxed::Leaf(text) => text.len(),
        Boxed::Group(open, trees) => open.len_utf8() + weigh(trees),
    };
    trees.iter().map(|tree| weight(tree)).sum()
}

/// Tree of references into typed arenas.
enum Typed<'t, 'a> {
    Leaf(&'t str),
    Group(char, &'a [&'a Typed<'t, 'a>]),
}

#[derive(Default)]
struct Arenas<'t, 'a> {
    trees: Arena<Typed<'t, 'a>>,
    lists: Arena<&'a Typed<'t, 'a>>,
}

impl<'t, 'a> Build<'t> for &'a Arenas<'t, 'a> {
    type Tree = &'a Typed<'t, 'a>;
    type Trees = Vec<Self::Tree>;

    fn trees(&self) -> Self::Trees {
        Vec::new()
    }

    fn push(&self, trees: &mut Self::Trees, tree: Self::Tree) {
        trees.push(tree);
    }

    fn leaf(&self, text: &'t str) -> Self::Tree {
        self.trees.alloc(Typed::Leaf(text))
    }

    fn group(&self, open: char, trees: Self::Trees) -> Self::Tree {
        self.trees.alloc(Typed::Group(open, self.lists.alloc_extend(trees)))
    }
}

fn weigh_typed(trees: &[&Typed<'_, '_>]) -> usize {
    let weight = |tree: &Typed<'_, '_>| match tree {
        Typed::Leaf(text) => text.len(),
        Typed::Group(open, trees) => open.len_utf8() + weigh_typed(trees),
    };
    trees.iter().map(|tree| weight(tree)).sum()
}

/// Counts the nodes and builds nothing.
struct Count(Cell<usize>);

impl<'t> Build<'t> for Count {
    type Tree = ();
    type Trees = ();
    fn trees(&self) {}
    fn push(&self, (): &mut (), (): ()) {}
    fn leaf(&self, _: &'t str) {
        self.0.set(self.0.get() + 1);
    }
    fn group(&self, _: char, (): ()) {
        self.0.set(self.0.get() + 1);
    }
}

/// Number of nodes in the trees of the text.
pub(crate) fn count(text: &str) -> usize {
    let count = Count(Cell::new(0));
    parse(&count, &mut { text });
    count.0.get()
}

/// Parses the text into an allocator, and checks that all of it is there.
fn whole<'t, A: Allocator + Copy>(text: &'t str, allocator: A) -> VecIn<BoxIn<Boxed<'t, A>, A>, A> {
    let trees = parse(&In(allocator), &mut { text });
    assert!(weigh(&trees) > text.len() / 3);
    trees
}

/// A row with an arena: the trees are forgotten, and then the arena is dropped with them.
macro_rules! dropped_whole {
    ($name:literal, $text:expr, $arena:expr) => {
        Row::new($name, move || {
            let arena = $arena;
            let built = time(|| mem::forget(whole($text, &arena)), |()| ());
            let end = time(|| (), |()| drop(arena));
            super::Times { build: built.build, end: end.end }
        })
    };
}

pub(crate) fn rows(text: &str) -> Vec<Row<'_>> {
    vec![
        Row::new("without a heap", move || time(|| whole(text, Global), drop)),
        dropped_whole!("PrivateHeap, dropped", text, PrivateHeap::named("tree")),
        Row::new("PrivateHeap, node by node", move || {
            let heap = PrivateHeap::named("tree");
            time(|| whole(text, &heap), drop)
        }),
        dropped_whole!("SharedPrivateHeap, dropped", text, SharedPrivateHeap::named("tree")),
        dropped_whole!("bumpalo, dropped", text, Bump::new()),
        Row::new("typed-arena, dropped", move || {
            let start = Instant::now();
            let build = {
                let arenas = Arenas::default();
                let trees = parse(&&arenas, &mut { text });
                assert!(weigh_typed(&trees) > text.len() / 3);
                start.elapsed()
            };
            super::Times { build, end: start.elapsed() - build }
        }),
    ]
}
