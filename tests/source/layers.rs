//! The library consists of layers, and imports point down only.
//!
//! The order of the folders and single files of `src` is the table under `# Layers` in `src/lib.rs`, from the top down.
//! Inside a folder it is the order of the `mod` lines in `mod.rs`: a file may use the files above it there. A `mod.rs`
//! is a table of contents, and no file of a folder reaches another one through it.
//!
//! There are limits too. `src` has at most 22 entries. A file has at most 500 lines without its tests, and a function
//! at most 50. And no two types of the crate have the same name.
//!
//! Imports are read from the syntax: `use`, paths in code, and paths in the arguments of macros. Methods need no
//! import. If the methods of one type stand in several files of a folder, a call counts as an import of the file with
//! the method.
//!
//! To see it fail: add `use crate::global::PoolMalloc as _;` to `src/os/memory.rs`.
//!
//! `cargo test --test source layers:: -- --nocapture` prints the figures. With the path of another checkout's `src` in
//! `POOLMALLOC_TEST_SRC` it prints those of that checkout, and checks nothing.

use petgraph::algo::tarjan_scc;
use petgraph::graphmap::DiGraphMap;
use proc_macro2::{TokenStream, TokenTree};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::{env, fs};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::files;

/// Largest number of lines of a file, without its tests.
const FILE_LINES: usize = 500;
/// Largest number of lines of a function.
const FUNCTION_LINES: usize = 50;
/// Largest number of entries of `src`.
const ENTRIES: usize = 22;

/// The path of a module, such as `heap`, `front`.
type Module = Vec<String>;

/// One file of the crate.
struct Source {
    /// Its path below `src`.
    file: String,
    module: Module,
    /// Whether it is a `mod.rs`.
    is_contents: bool,
    syntax: syn::File,
    text: String,
}

/// A path in the source, and where it leads.
struct Import {
    /// The path as it is written.
    text: String,
    /// The file that has the item.
    target: Module,
    /// The table of contents that the path goes through, if it does not name the file.
    through: Option<Module>,
}

struct Crate {
    sources: BTreeMap<Module, Source>,
    /// The entries of `src` from the top down.
    floors: Vec<String>,
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.meta.require_list().is_ok_and(|list| list.tokens.to_string() == "test")
    })
}

fn source_of(file: &str, text: &str) -> Source {
    let mut module: Module = file.trim_end_matches(".rs").split('/').map(String::from).collect();
    let is_contents = module.last().is_some_and(|name| name == "mod");
    if is_contents || file == "lib.rs" {
        module.pop();
    }
    let syntax = syn::parse_file(text).unwrap_or_else(|error| panic!("{file}: {error}"));
    Source { file: file.into(), module, is_contents, syntax, text: text.into() }
}

/// Returns the names in the first column of the table under `# Layers`.
fn floors_of(lib: &str) -> Vec<String> {
    let below = lib.lines().skip_while(|line| *line != "//! # Layers").skip(1);
    let rows = below.take_while(|line| !line.starts_with("//! # ")).filter_map(|line| line.strip_prefix("//! | `"));
    rows.filter_map(|row| Some(row.split_once('`')?.0.to_owned())).collect()
}

/// Adds the names that a `use` tree brings in, each with its path.
fn leaves(tree: &syn::UseTree, path: &[String], found: &mut Vec<(String, Vec<String>)>) {
    let with = |name: &syn::Ident| [path, &[name.to_string()]].concat();
    match tree {
        syn::UseTree::Path(inner) => leaves(&inner.tree, &with(&inner.ident), found),
        syn::UseTree::Name(name) if name.ident == "self" => {
            found.push((path.last().cloned().unwrap_or_default(), path.to_vec()));
        }
        syn::UseTree::Name(name) => found.push((name.ident.to_string(), with(&name.ident))),
        syn::UseTree::Rename(rename) => found.push((rename.rename.to_string(), with(&rename.ident))),
        syn::UseTree::Glob(_) => found.push(("*".into(), path.to_vec())),
        syn::UseTree::Group(group) => group.items.iter().for_each(|item| leaves(item, path, found)),
    }
}

impl Crate {
    fn read(src: &Path) -> Self {
        let texts: BTreeMap<_, _> = files(src, "rs")
            .iter()
            .map(|path| {
                let file = path.strip_prefix(src).expect("below src").to_string_lossy().into_owned();
                (file, fs::read_to_string(path).expect("the file can be read"))
            })
            .collect();
        Self::of(texts.iter().map(|(file, text)| (file.as_str(), text.as_str())))
    }

    fn of<'t>(texts: impl Iterator<Item = (&'t str, &'t str)>) -> Self {
        let sources: BTreeMap<_, _> =
            texts.map(|(file, text)| source_of(file, text)).map(|it| (it.module.clone(), it)).collect();
        let floors = floors_of(&sources[&Vec::new()].text);
        Self { sources, floors }
    }

    /// Returns the names of the modules that a file declares, in its order.
    fn children(&self, module: &Module) -> Vec<String> {
        let Some(source) = self.sources.get(module) else { return Vec::new() };
        let names = source.syntax.items.iter().filter_map(|item| match item {
            syn::Item::Mod(child) if child.content.is_none() => Some(child.ident.to_string()),
            _ => None,
        });
        names.collect()
    }

    /// Returns the path from which a module re-exports a name. The module is a table of contents, or the crate.
    fn reexport(&self, module: &Module, name: &str) -> Option<Module> {
        let mut found = Vec::new();
        let mut globs = Vec::new();
        for item in &self.sources.get(module)?.syntax.items {
            if let syn::Item::Use(item) = item {
                let mut all = Vec::new();
                leaves(&item.tree, &[], &mut all);
                globs.extend(all.iter().filter(|leaf| leaf.0 == "*").map(|leaf| leaf.1.clone()));
                found.extend(all.into_iter().filter(|leaf| leaf.0 == name).map(|leaf| leaf.1));
            }
        }
        let globs = globs.into_iter().map(|glob| [glob, vec![name.to_owned()]].concat());
        found.into_iter().chain(globs).find_map(|path| self.absolute(module, &path)).filter(|path| path != module)
    }

    /// Returns the path, seen from the module `here`, as a path from the crate's root. `None` if it leads out of the
    /// crate.
    fn absolute(&self, here: &Module, path: &[String]) -> Option<Module> {
        let first = path.first()?;
        match first.as_str() {
            "crate" => Some(path[1..].to_vec()),
            "self" => Some([here, &path[1..]].concat()),
            "super" => {
                let mut above = here.clone();
                let ups = path.iter().take_while(|name| *name == "super").count();
                above.truncate(here.len().checked_sub(ups)?);
                Some([&above[..], &path[ups..]].concat())
            }
            _ => {
                let child = [&here[..], &path[..1]].concat();
                self.sources.contains_key(&child).then(|| [&here[..], path].concat())
            }
        }
    }

    /// Finds the file that has the item of an absolute path. `text` is the path as it is written.
    fn resolve(&self, path: &Module, text: String) -> Import {
        let mut length = path.len();
        while length > 0 && !self.sources.contains_key(&path[..length]) {
            length -= 1;
        }
        let module = path[..length].to_vec();
        let source = &self.sources[&module];
        if length == path.len() || !(source.is_contents || module.is_empty()) {
            let through = source.is_contents.then(|| module.clone());
            return Import { text, target: module, through };
        }
        match self.reexport(&module, &path[length]) {
            Some(next) if next != *path => {
                Import { through: Some(module), ..self.resolve(&[&next[..], &path[length + 1..]].concat(), text) }
            }
            _ => Import { text, target: module.clone(), through: Some(module) },
        }
    }

    /// Compares the places of two modules. `Greater` means that `from` may not use `to`: `to` is a layer above, or
    /// comes later in the same folder.
    fn order(&self, from: &Module, to: &Module) -> Ordering {
        let common = from.iter().zip(to).take_while(|(one, other)| one == other).count();
        let (Some(own), Some(other)) = (from.get(common), to.get(common)) else { return Ordering::Equal };
        let order = if common == 0 { self.floors.clone() } else { self.children(&from[..common].to_vec()) };
        let place = |name: &String| order.iter().position(|each| each == name).unwrap_or(usize::MAX);
        if common == 0 { place(own).cmp(&place(other)) } else { place(other).cmp(&place(own)) }
    }

    fn imports(&self, source: &Source) -> Vec<Import> {
        let mut paths = Paths { module: source.module.clone(), found: BTreeSet::new() };
        paths.visit_file(&source.syntax);
        let mut imports = Vec::new();
        for (here, path) in paths.found {
            if let Some(target) = self.absolute(&here, &path) {
                let import = self.resolve(&target, path.join("::"));
                if import.target != source.module || import.through.is_some() {
                    imports.push(import);
                }
            }
        }
        imports
    }

    /// Returns what is wrong with an import, if anything is.
    fn judge(&self, source: &Source, import: &Import) -> Option<String> {
        let Source { file, module, is_contents, .. } = source;
        let Import { text, target, through } = import;
        let target_file = &self.sources[target].file;
        if module.is_empty() || (*is_contents && target.starts_with(module)) {
            return None;
        }
        if let Some(through) = through {
            if module.starts_with(through) && target != module {
                return Some(format!("{file}: `{text}` goes through the table of contents to {target_file}"));
            }
        }
        if self.order(module, target) == Ordering::Greater {
            return Some(format!("{file}: `{text}` points up to {target_file}"));
        }
        None
    }

    fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        for entry in self.children(&Vec::new()) {
            if !self.floors.contains(&entry) {
                found.push(format!("lib.rs: `{entry}` is not in the table of the layers"));
            }
        }
        for source in self.sources.values() {
            if let Some((name, above)) = source.module.split_last() {
                if !self.children(&above.to_vec()).contains(name) {
                    found.push(format!("{}: no `mod` line declares it, so it has no place in the order", source.file));
                }
            }
            found.extend(self.imports(source).iter().filter_map(|import| self.judge(source, import)));
            if source.is_contents && !source.syntax.items.iter().all(is_of_contents) {
                found.push(format!("{}: has code, and is to be a table of contents", source.file));
            }
        }
        found.extend(self.calls().into_iter().filter_map(|(from, to, method)| {
            let [from_file, to_file] = [&from, &to].map(|module| &self.sources[module].file);
            let is_up = self.order(&from, &to) == Ordering::Greater;
            is_up.then(|| format!("{from_file}: calls `{method}`, which stands later in its folder, in {to_file}"))
        }));
        found.sort();
        found.dedup();
        found
    }

    /// Returns the calls of methods that do not stand in the file of their type, but in another file of its folder.
    /// Each has the file of the call, the file of the method, and the method's name.
    fn calls(&self) -> BTreeSet<(Module, Module, String)> {
        let mut calls = BTreeSet::new();
        let folders: BTreeSet<_> = self.sources.values().filter(|source| source.module.len() > 1).map(folder).collect();
        for here in folders {
            let is_here = |source: &&Source| !source.module.is_empty() && folder(source) == here;
            let files: Vec<_> = self.sources.values().filter(is_here).collect();
            let mut types = BTreeMap::new();
            let mut methods = BTreeMap::<String, BTreeSet<&Module>>::new();
            for source in &files {
                types.extend(source.syntax.items.iter().filter_map(name_of_type).map(|name| (name, &source.module)));
            }
            for source in &files {
                for item in &source.syntax.items {
                    let syn::Item::Impl(block) = item else { continue };
                    let home = name_of_self(block).and_then(|name| types.get(&name));
                    if block.trait_.is_some() || home.is_none_or(|home| **home == source.module) {
                        continue;
                    }
                    for item in &block.items {
                        if let syn::ImplItem::Fn(method) = item {
                            methods.entry(method.sig.ident.to_string()).or_default().insert(&source.module);
                        }
                    }
                }
            }
            for source in &files {
                let mut called = Called::default();
                called.visit_file(&source.syntax);
                for name in called.0 {
                    // If several files have a method of this name, the call is left out: only the compiler knows the
                    // type of the receiver.
                    let Some(places) = methods.get(&name).filter(|places| places.len() == 1) else { continue };
                    let to = places.iter().next().map(|place| (*place).clone()).unwrap_or_default();
                    if to != source.module {
                        calls.insert((source.module.clone(), to, name));
                    }
                }
            }
        }
        calls
    }

    /// Returns the files of the largest circle of imports and calls. Empty if there is none.
    fn largest_circle(&self) -> Vec<String> {
        let mut graph = DiGraphMap::<&str, ()>::new();
        let file = |module: &Module| self.sources[module].file.as_str();
        for source in self.sources.values().filter(|source| !source.module.is_empty()) {
            let is_own = |import: &Import| source.is_contents && import.target.starts_with(&source.module);
            for import in self.imports(source).into_iter().filter(|import| !is_own(import)) {
                graph.add_edge(source.file.as_str(), file(&import.target), ());
            }
        }
        for (from, to, _) in self.calls() {
            graph.add_edge(file(&from), file(&to), ());
        }
        let mut circles = tarjan_scc(&graph);
        circles.sort_by_key(Vec::len);
        let largest = circles.pop().unwrap_or_default();
        if largest.len() > 1 { largest.into_iter().map(String::from).collect() } else { Vec::new() }
    }

    /// Returns the files that are too long, and the functions that are too long.
    fn long(&self) -> (Vec<String>, Vec<String>) {
        let (mut files, mut functions) = (Vec::new(), Vec::new());
        for source in self.sources.values() {
            let tests = |item: &&syn::Item| matches!(item, syn::Item::Mod(module) if is_test(&module.attrs));
            let lines_of = |item: &syn::Item| item.span().end().line + 1 - item.span().start().line;
            let of_tests: usize = source.syntax.items.iter().filter(tests).map(lines_of).sum();
            let lines = source.text.lines().count() - of_tests;
            if lines > FILE_LINES && source.module.first().is_none_or(|first| first != "tests") {
                files.push(format!("{}: {lines} lines without its tests", source.file));
            }
            let mut all = Functions { file: &source.file, long: &mut functions };
            all.visit_file(&source.syntax);
        }
        (files, functions)
    }

    /// Returns the names that two or more types have, each with the files that define these types.
    fn shared_names(&self) -> Vec<String> {
        let mut files: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        let is_test = |source: &&Source| source.module.iter().any(|name| name == "tests");
        for source in self.sources.values().filter(|source| !is_test(source)) {
            let mut types = Types::default();
            types.visit_file(&source.syntax);
            for name in types.0 {
                files.entry(name).or_default().push(&source.file);
            }
        }
        files.retain(|_, files| files.len() > 1);
        files
            .iter()
            .map(|(name, files)| format!("`{name}` names {} types, in {}", files.len(), files.join(", ")))
            .collect()
    }
}

fn folder(source: &Source) -> Module {
    source.module[..source.module.len() - usize::from(!source.is_contents)].to_vec()
}

fn is_of_contents(item: &syn::Item) -> bool {
    matches!(item, syn::Item::Mod(module) if module.content.is_none()) || matches!(item, syn::Item::Use(_))
}

fn name_of_type(item: &syn::Item) -> Option<String> {
    match item {
        syn::Item::Struct(item) => Some(item.ident.to_string()),
        syn::Item::Enum(item) => Some(item.ident.to_string()),
        _ => None,
    }
}

fn name_of_self(block: &syn::ItemImpl) -> Option<String> {
    match &*block.self_ty {
        syn::Type::Path(path) => Some(path.path.segments.last()?.ident.to_string()),
        _ => None,
    }
}

/// Paths of a file, each with the module that it is written in.
struct Paths {
    module: Module,
    found: BTreeSet<(Module, Vec<String>)>,
}

impl Paths {
    fn add(&mut self, path: Vec<String>) {
        self.found.insert((self.module.clone(), path));
    }

    /// Adds the paths that begin with `crate` or `super` in the arguments of a macro.
    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let name_at = |place: usize| match tokens.get(place) {
            Some(TokenTree::Ident(name)) => Some(name.to_string()),
            _ => None,
        };
        let is =
            |place: usize, mark: char| matches!(tokens.get(place), Some(TokenTree::Punct(it)) if it.as_char() == mark);
        for (place, token) in tokens.iter().enumerate() {
            if let TokenTree::Group(group) = token {
                self.tokens(group.stream());
            }
            // A path with `$crate` belongs to the places where the macro is used.
            let is_quoted = place > 0 && is(place - 1, '$');
            let Some(first) = name_at(place).filter(|name| !is_quoted && matches!(name.as_str(), "crate" | "super"))
            else {
                continue;
            };
            let (mut path, mut next) = (vec![first], place + 1);
            while let (true, true, Some(name)) = (is(next, ':'), is(next + 1, ':'), name_at(next + 2)) {
                path.push(name);
                next += 3;
            }
            if path.len() > 1 {
                self.add(path);
            }
        }
    }
}

impl<'s> Visit<'s> for Paths {
    fn visit_item_use(&mut self, item: &'s syn::ItemUse) {
        let mut found = Vec::new();
        leaves(&item.tree, &[], &mut found);
        found.into_iter().for_each(|(_, path)| self.add(path));
    }

    fn visit_path(&mut self, path: &'s syn::Path) {
        let names: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if names.len() > 1 {
            self.add(names);
        }
        visit::visit_path(self, path);
    }

    fn visit_item_mod(&mut self, item: &'s syn::ItemMod) {
        if item.content.is_some() {
            self.module.push(item.ident.to_string());
            visit::visit_item_mod(self, item);
            self.module.pop();
        }
    }

    fn visit_macro(&mut self, item: &'s syn::Macro) {
        self.tokens(item.tokens.clone());
    }

    fn visit_vis_restricted(&mut self, _: &'s syn::VisRestricted) {}

    fn visit_attribute(&mut self, _: &'s syn::Attribute) {}
}

/// Names of the methods that a file calls.
#[derive(Default)]
struct Called(BTreeSet<String>);

impl<'s> Visit<'s> for Called {
    fn visit_expr_method_call(&mut self, call: &'s syn::ExprMethodCall) {
        self.0.insert(call.method.to_string());
        visit::visit_expr_method_call(self, call);
    }

    fn visit_item_mod(&mut self, item: &'s syn::ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }
}

/// Collects the functions that are too long. Tests have no such limit.
struct Functions<'a> {
    file: &'a str,
    long: &'a mut Vec<String>,
}

impl Functions<'_> {
    fn look(&mut self, signature: &syn::Signature, end: usize) {
        let lines = end + 1 - signature.span().start().line;
        if lines > FUNCTION_LINES {
            self.long.push(format!("{}: `{}` has {lines} lines", self.file, signature.ident));
        }
    }
}

impl<'s> Visit<'s> for Functions<'_> {
    fn visit_item_fn(&mut self, item: &'s syn::ItemFn) {
        self.look(&item.sig, item.span().end().line);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'s syn::ImplItemFn) {
        self.look(&item.sig, item.span().end().line);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_item_mod(&mut self, item: &'s syn::ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }
}

/// Names of the types that a file defines, outside of its tests.
#[derive(Default)]
struct Types(Vec<String>);

impl<'s> Visit<'s> for Types {
    fn visit_item(&mut self, item: &'s syn::Item) {
        let name = match item {
            syn::Item::Trait(item) => Some(item.ident.to_string()),
            syn::Item::Type(item) => Some(item.ident.to_string()),
            syn::Item::Union(item) => Some(item.ident.to_string()),
            _ => name_of_type(item),
        };
        self.0.extend(name);
        visit::visit_item(self, item);
    }

    fn visit_item_mod(&mut self, item: &'s syn::ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }
}

/// Returns a text with the figures of a crate, and a list of everything that is wrong with it.
fn figures(all: &Crate) -> (String, Vec<String>) {
    let mut wrong = all.violations();
    let arrows: BTreeSet<_> = wrong.iter().map(|line| (line.split(':').next(), line.rsplit(' ').next())).collect();
    let entries: BTreeSet<_> = all.sources.keys().map(|module| module.first().map_or("lib", String::as_str)).collect();
    let circle = all.largest_circle();
    let (files, functions) = all.long();
    let names = all.shared_names();
    let lines: usize = all.sources.values().map(|source| source.text.lines().count()).sum();
    let mut text = format!("{} entries, {} files, {lines} lines\n", entries.len(), all.sources.len());
    text += &format!("{} imports in {} arrows point up or go through a table of contents\n", wrong.len(), arrows.len());
    text += &format!("the largest circle has {} files\n", circle.len());
    text += &format!(
        "{} files over {FILE_LINES} lines, {} functions over {FUNCTION_LINES}\n",
        files.len(),
        functions.len()
    );
    text += &format!("{} names of two types\n", names.len());
    if entries.len() > ENTRIES {
        wrong.push(format!("{} entries, more than {ENTRIES}", entries.len()));
    }
    if !circle.is_empty() {
        wrong.push(format!("a circle of {circle:?}"));
    }
    wrong.extend(files.into_iter().chain(functions).chain(names));
    (text, wrong)
}

#[test]
fn imports_point_down_rooms_are_small_and_names_mean_one_thing() {
    let other = env::var_os("POOLMALLOC_TEST_SRC");
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (text, wrong) = figures(&Crate::read(other.as_ref().map_or(&own, Path::new)));
    println!("{text}");
    if other.is_some() {
        return wrong.iter().for_each(|line| println!("  {line}"));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

const LIB: &str = "//! # Layers\n//! | `upper` |\n//! | `lower` |\n//! | `base` |\nmod upper;\nmod lower;\nmod base;\n";

/// Returns what is wrong with a crate of three layers, with the text `first` in `lower/first.rs` and the text `second`
/// in `lower/second.rs`.
fn wrong_with(first: &str, second: &str) -> Vec<String> {
    let texts = [
        ("lib.rs", LIB),
        ("upper.rs", "use crate::lower::{Item, Other}; pub struct Up;"),
        ("lower/mod.rs", "pub mod first; pub mod second; pub use first::Item; pub use second::Other;"),
        ("lower/first.rs", first),
        ("lower/second.rs", second),
        ("base.rs", "pub struct Base;"),
    ];
    figures(&Crate::of(texts.into_iter())).1
}

#[test]
fn what_points_down_is_right() {
    let first = "use crate::base::Base; pub struct Item(Base); impl Item { pub fn one(&self) {} }";
    let second = "use super::first::Item; pub struct Other; impl Item { pub fn two(&self) { self.one() } }";
    assert_eq!(wrong_with(first, second), [""; 0]);
}

#[test]
fn each_kind_of_violation_is_seen() {
    let found = |first: &str, second: &str| wrong_with(first, second).first().cloned().unwrap_or_default();
    for (first, second, line) in [
        ("use crate::upper::Up;", "", "lower/first.rs: `crate::upper::Up` points up to upper.rs"),
        ("fn f() { crate::upper::up() }", "", "lower/first.rs: `crate::upper::up` points up to upper.rs"),
        (
            "fn f() { println!(\"{}\", crate::upper::up()) }",
            "",
            "lower/first.rs: `crate::upper::up` points up to upper.rs",
        ),
        (
            "mod m { use super::super::super::upper::Up; }",
            "",
            "lower/first.rs: `super::super::super::upper::Up` points up to upper.rs",
        ),
        (
            "use super::second::Other;",
            "pub struct Other;",
            "lower/first.rs: `super::second::Other` points up to lower/second.rs",
        ),
        (
            "pub struct Item;",
            "use super::Item;",
            "lower/second.rs: `super::Item` goes through the table of contents to lower/first.rs",
        ),
        (
            "pub struct Item; impl Item { fn one(&self) { self.two() } }",
            "use super::first::Item; impl Item { pub fn two(&self) {} }",
            "lower/first.rs: calls `two`, which stands later in its folder, in lower/second.rs",
        ),
    ] {
        assert_eq!(found(first, second), line);
    }
    assert!(wrong_with(&"\n".repeat(FILE_LINES + 1), "")[0].starts_with("lower/first.rs: 501 lines"));
    let long = format!("fn f() {{{}}}", "\n".repeat(FUNCTION_LINES));
    assert_eq!(found(&long, ""), "lower/first.rs: `f` has 51 lines");
    let twins = "`Base` names 2 types, in base.rs, lower/first.rs";
    assert_eq!(found("trait Base {}", ""), twins);
    assert_eq!(found("fn f() { struct Base; }", ""), twins);
    let with_code = [("lib.rs", LIB), ("upper/mod.rs", "fn f() {}"), ("lower.rs", ""), ("base.rs", "")];
    let wrong = figures(&Crate::of(with_code.into_iter())).1;
    assert_eq!(wrong, ["upper/mod.rs: has code, and is to be a table of contents"]);
    let undeclared = [("lib.rs", LIB), ("upper/mod.rs", ""), ("upper/lost.rs", ""), ("lower.rs", ""), ("base.rs", "")];
    let wrong = figures(&Crate::of(undeclared.into_iter())).1;
    assert_eq!(wrong, ["upper/lost.rs: no `mod` line declares it, so it has no place in the order"]);
}
