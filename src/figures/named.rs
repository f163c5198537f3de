//! Figures by name, as the statistics list them. The list has a fixed length, so it needs no memory of its own.

use super::name::Name;

/// Most entries of the list: 15 names, and one entry for all other names.
const NAMES: usize = 16;

/// The name of the entry for all names that find no room.
const OTHERS: &str = "(others)";

/// The figures of all private heaps, or of all typed pools, of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct NamedFigures<F> {
    /// The name. Empty for private heaps without a name. `(others)` for all names that found no room in the list, which
    /// has at most 15 names and this entry.
    pub name: Name,
    /// The sums over these heaps or pools.
    pub figures: F,
}

/// Figures that can be added up.
pub(crate) trait Figures: Copy + Default {
    /// Adds the figures of more heaps, or of more pools.
    fn add(&mut self, more: &Self);
}

/// The list: one entry for each of up to 15 names, in the order in which they were found, and one for all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(
        from = "Vec<NamedFigures<F>>",
        into = "Vec<NamedFigures<F>>",
        bound(serialize = "F: Figures + serde::Serialize", deserialize = "F: Figures + serde::Deserialize<'de>")
    )
)]
pub(crate) struct ByName<F> {
    list: [NamedFigures<F>; NAMES],
    length: usize,
}

impl<F: Figures> Default for ByName<F> {
    fn default() -> Self {
        Self { list: [NamedFigures { name: Name::default(), figures: F::default() }; NAMES], length: 0 }
    }
}

impl<F> ByName<F> {
    pub(crate) fn list(&self) -> &[NamedFigures<F>] {
        &self.list[..self.length]
    }
}

impl<F: Figures> ByName<F> {
    /// Adds figures to the entry of this name, or to the entry for all other names if there is no room for one more
    /// name.
    pub(crate) fn add(&mut self, name: Name, figures: &F) {
        let named = match self.find(name) {
            Some(known) => known,
            None if self.length < NAMES - 1 => self.push(name),
            // A heap or a pool may have this very name.
            None => self.find(Name::new(OTHERS)).unwrap_or_else(|| self.push(Name::new(OTHERS))),
        };
        self.list[named].figures.add(figures);
    }

    fn find(&self, name: Name) -> Option<usize> {
        self.list().iter().position(|known| known.name == name)
    }

    fn push(&mut self, name: Name) -> usize {
        self.list[self.length].name = name;
        self.length += 1;
        self.length - 1
    }
}

#[cfg(feature = "serde")]
impl<F: Figures> From<Vec<NamedFigures<F>>> for ByName<F> {
    fn from(named: Vec<NamedFigures<F>>) -> Self {
        let mut by_name = Self::default();
        named.iter().for_each(|named| by_name.add(named.name, &named.figures));
        by_name
    }
}

#[cfg(feature = "serde")]
impl<F: Figures> From<ByName<F>> for Vec<NamedFigures<F>> {
    fn from(by_name: ByName<F>) -> Self {
        by_name.list().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Figures for u64 {
        fn add(&mut self, more: &Self) {
            *self += more;
        }
    }

    /// Adds 0 to 39 under twenty names.
    fn add_to_forty(by_name: &mut ByName<u64>) {
        (0..40).for_each(|number| by_name.add(Name::new(&format!("n{}", number % 20)), &number));
    }

    fn told(by_name: &ByName<u64>) -> Vec<(String, u64)> {
        by_name.list().iter().map(|named| (named.name.as_str().into(), named.figures)).collect()
    }

    #[test]
    fn names_beyond_the_room_are_listed_together() {
        let mut by_name = ByName::default();
        add_to_forty(&mut by_name);
        let mut expected: Vec<_> = (0..15).map(|number| (format!("n{number}"), number + number + 20)).collect();
        expected.push((OTHERS.into(), (15..20).chain(35..40).sum()));
        assert_eq!(told(&by_name), expected);
    }

    #[test]
    fn the_name_of_all_others_is_listed_once() {
        let mut by_name = ByName::default();
        by_name.add(Name::new(OTHERS), &1000);
        add_to_forty(&mut by_name);
        let mut expected = vec![(OTHERS.into(), 1000 + (14..20).chain(34..40).sum::<u64>())];
        expected.extend((0..14).map(|number| (format!("n{number}"), number + number + 20)));
        assert_eq!(told(&by_name), expected);
    }

    #[cfg(feature = "serde")]
    #[test]
    fn the_list_is_the_same_after_it_was_written_and_read() {
        let mut by_name = ByName::default();
        add_to_forty(&mut by_name);
        let text = serde_json::to_string(&by_name).unwrap();
        assert_eq!(serde_json::from_str::<ByName<u64>>(&text).unwrap(), by_name);
    }
}
