//! The components of a mixture, those that it names and those that its mixes bring, each once.

use super::Component;
use std::ops::Range;

/// Components in the order in which they were met.
#[derive(Default)]
pub(super) struct Union {
    members: Vec<Member>,
}

struct Member {
    component: Component,
    /// Where the file names it; none if a mix brings it.
    named_at: Option<Range<usize>>,
}

impl Component {
    /// Whether both are the same documents, seen alike.
    fn is_same_corpus(&self, other: &Component) -> bool {
        (&self.sources, self.view, self.codebooks) == (&other.sources, other.view, other.codebooks)
    }
}

impl Union {
    /// The number of a component that a mix brings. It keeps the name that the file itself gives to the same corpus.
    pub(super) fn bring(&mut self, component: Component) -> usize {
        let known = self.position(&component);
        known.unwrap_or_else(|| self.push(component, None))
    }

    /// The number of a component that the file names at `at`; an error, where the file has named it before.
    pub(super) fn name(
        &mut self,
        component: Component,
        at: Range<usize>,
    ) -> Result<usize, Range<usize>> {
        let Some(known) = self.position(&component) else {
            return Ok(self.push(component, Some(at)));
        };
        let member = &mut self.members[known];
        match &member.named_at {
            Some(first) => Err(first.clone()),
            None => {
                member.named_at = Some(at);
                member.component.name = component.name;
                Ok(known)
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// All components. Where names clash, those that mixes brought get their view behind them, and if need be a number.
    pub(super) fn into_components(self) -> Vec<Component> {
        let named = self.members.iter().filter(|m| m.named_at.is_some());
        let mut taken: Vec<String> = named.map(|m| m.component.name.clone()).collect();
        let mut components = Vec::new();
        for Member {
            mut component,
            named_at,
        } in self.members
        {
            if named_at.is_none() {
                let with_view = format!("{}-{}", component.name, component.view);
                let numbered = (2..).map(|number| format!("{with_view}-{number}"));
                let mut names = [component.name, with_view.clone()]
                    .into_iter()
                    .chain(numbered);
                let free = names.find(|name| !taken.contains(name));
                component.name = free.expect("numbers do not end");
                taken.push(component.name.clone());
            }
            components.push(component);
        }
        components
    }

    fn position(&self, component: &Component) -> Option<usize> {
        let mut members = self.members.iter();
        members.position(|member| member.component.is_same_corpus(component))
    }

    fn push(&mut self, component: Component, named_at: Option<Range<usize>>) -> usize {
        self.members.push(Member {
            component,
            named_at,
        });
        self.members.len() - 1
    }
}
