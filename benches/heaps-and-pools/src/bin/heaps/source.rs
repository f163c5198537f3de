//! The source text for the token trees: made-up Rust, the same on every machine.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// Enough to fill some arenas.
const BYTES: usize = 3_000_000;

/// From this depth of nested rules on, only the first form of a rule is taken. The first forms end the nesting.
const DEEPEST: usize = 12;

/// Writes functions until the text is long enough.
pub(crate) fn text() -> String {
    let (mut text, mut random) = (String::new(), Pcg64Mcg::seed_from_u64(1));
    while text.len() < BYTES {
        write("$function", 0, &mut random, &mut text);
    }
    text
}

/// Writes a form, and in place of each `$rule` in it a random form of that rule.
fn write(form: &str, depth: usize, random: &mut Pcg64Mcg, text: &mut String) {
    let mut parts = form.split('$');
    text.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(part.len());
        let forms = forms(&part[..end]);
        let number = if depth < DEEPEST { random.random_range(0..forms.len()) } else { 0 };
        write(forms[number], depth + 1, random, text);
        text.push_str(&part[end..]);
    }
}

/// The forms of a rule. A group in brackets holds 5.7 trees on average, as in the sources of this library, and a third
/// of the groups hold one or none. A quarter of the text is comments.
fn forms(rule: &str) -> &'static [&'static str] {
    match rule {
        "function" => &[
            "$doc\n$doc\n$doc\nfn $name(&self) -> $type {\n$statement$statement$statement}\n\n",
            "$doc\nfn $name(&self, $name: $type) -> $type {\n$statement$statement$statement$statement$statement}\n\n",
            "$doc\n$doc\nfn $name<'a>($name: &'a $type, $name: $type) {\n$statement$statement$statement}\n\n",
        ],
        "doc" => &["/// $name $name $name: $name, $name $name $name $name $name $name $name."],
        "statement" => &[
            "    let $name = $value;\n",
            "    $value;\n",
            "    // $name $name $name $name $name $name $name $name $name.\n    let $name = $value;\n",
            "    self.$name += $value;\n",
            "    if $value {\n$statement$statement    }\n",
            "    for $name in $value {\n$statement$statement$statement    }\n",
            "    match $value {\n        Some($name) => $value,\n        None => $value,\n    }\n",
        ],
        "value" => &[
            "$name",
            "$name",
            "$number",
            "$name.$name()",
            "$name.$name($value)",
            "$name.$name($value, $value)",
            "$type::$name($value)",
            "&$name[$value]",
            "$value + $value",
            "format!(\"{$name} \\\"{}\\\"\", $value)",
            "'$letter'",
        ],
        "name" => &[
            "arena",
            "at",
            "block",
            "bytes",
            "class",
            "count",
            "each",
            "end",
            "entry",
            "first",
            "found",
            "free",
            "heap",
            "index",
            "is_empty",
            "length",
            "list",
            "magazine",
            "next",
            "number",
            "place",
            "pool",
            "rest",
            "text_behind",
        ],
        "type" => &["u64", "usize", "Arena", "Block", "String", "Vec"],
        "number" => &["0", "1", "64", "4096"],
        "letter" => &["a", "\\n", "ß"],
        _ => unreachable!("{rule} has no forms"),
    }
}
