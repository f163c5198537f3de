//! The strongly connected parts of a directed graph (R. Tarjan, "Depth-first search and linear graph algorithms",
//! 1972). They are found without recursion, because a list of a million blocks is as deep as it is long.

/// A graph as rows of targets.
pub(super) struct Graph {
    /// Position of each node's first target, followed by the number of all targets.
    starts: Vec<u32>,
    targets: Vec<u32>,
}

impl Graph {
    /// Makes a graph from pairs of numbers below `nodes`, in any order.
    pub(super) fn new(nodes: usize, edges: impl Iterator<Item = (u32, u32)> + Clone) -> Self {
        let mut starts = vec![0; nodes + 1];
        edges.clone().for_each(|(from, _)| starts[from as usize + 1] += 1);
        for node in 0..nodes {
            starts[node + 1] += starts[node];
        }
        let mut next = starts.clone();
        let mut targets = vec![0; starts[nodes] as usize];
        edges.for_each(|(from, to)| {
            targets[next[from as usize] as usize] = to;
            next[from as usize] += 1;
        });
        Self { starts, targets }
    }

    pub(super) fn targets(&self, node: usize) -> &[u32] {
        &self.targets[self.starts[node] as usize..self.starts[node + 1] as usize]
    }

    fn nodes(&self) -> usize {
        self.starts.len() - 1
    }

    /// Returns the number of each node's strongly connected part, and the number of parts. If a part leads to another
    /// part, the other part has the lower number.
    pub(super) fn parts(&self) -> (Vec<u32>, usize) {
        const NEW: u32 = u32::MAX;
        let nodes = self.nodes();
        let (mut part, mut order, mut low) = (vec![NEW; nodes], vec![NEW; nodes], vec![0; nodes]);
        let (mut open, mut path) = (Vec::new(), Vec::<(u32, u32)>::new());
        let (mut parts, mut time) = (0, 0);
        for root in 0..nodes {
            if order[root] != NEW {
                continue;
            }
            path.push((root as u32, 0));
            while let Some((node, step)) = path.pop() {
                let at = node as usize;
                if step == 0 {
                    (order[at], low[at]) = (time, time);
                    time += 1;
                    open.push(node);
                } else {
                    // The walk comes back from the target before `step`.
                    let target = self.targets(at)[step as usize - 1] as usize;
                    low[at] = low[at].min(low[target]);
                }
                let next = self.targets(at)[step as usize..].iter().position(|target| {
                    let target = *target as usize;
                    if order[target] != NEW && part[target] == NEW {
                        low[at] = low[at].min(order[target]);
                    }
                    order[target] == NEW
                });
                if let Some(next) = next {
                    let step = step + next as u32 + 1;
                    path.push((node, step));
                    path.push((self.targets(at)[step as usize - 1], 0));
                } else if low[at] == order[at] {
                    while let Some(member) = open.pop() {
                        part[member as usize] = parts as u32;
                        if member == node {
                            break;
                        }
                    }
                    parts += 1;
                }
            }
        }
        (part, parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(nodes: usize, edges: &[(u32, u32)]) -> (Vec<u32>, usize) {
        Graph::new(nodes, edges.iter().copied()).parts()
    }

    /// Whether there is a way from one node to another, for every pair.
    fn reach(nodes: usize, edges: &[(u32, u32)]) -> Vec<Vec<bool>> {
        let mut reach = vec![vec![false; nodes]; nodes];
        (0..nodes).for_each(|node| reach[node][node] = true);
        edges.iter().for_each(|&(from, to)| reach[from as usize][to as usize] = true);
        for by in 0..nodes {
            for from in 0..nodes {
                for to in 0..nodes {
                    reach[from][to] |= reach[from][by] && reach[by][to];
                }
            }
        }
        reach
    }

    #[test]
    fn parts_are_those_that_reach_each_other() {
        let mut random = 7_u64;
        let mut draw = |below: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) as usize % below
        };
        for round in 0..400 {
            let nodes = 1 + draw(12);
            let edges: Vec<_> = (0..draw(3 * nodes)).map(|_| (draw(nodes) as u32, draw(nodes) as u32)).collect();
            let ((part, count), reach) = (parts(nodes, &edges), reach(nodes, &edges));
            for from in 0..nodes {
                assert!((part[from] as usize) < count);
                for to in 0..nodes {
                    let is_mutual = reach[from][to] && reach[to][from];
                    assert_eq!(part[from] == part[to], is_mutual, "round {round}: {edges:?}");
                    assert!(!reach[from][to] || part[to] <= part[from], "round {round}: {edges:?}");
                }
            }
        }
    }

    #[test]
    fn a_long_list_needs_no_stack() {
        let nodes = 1_000_000;
        let ring = (0..nodes as u32).map(|node| (node, (node + 1) % nodes as u32));
        assert_eq!(Graph::new(nodes, ring.clone()).parts().1, 1);
        assert_eq!(Graph::new(nodes, ring.take(nodes - 1)).parts().1, nodes);
    }
}
