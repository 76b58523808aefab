//! Sets of services, each kept once and named by its index.

use std::{collections::HashMap, rc::Rc};

use super::services::Services;

#[derive(Default)]
pub struct Sets {
    all: Vec<Rc<Services>>,
    known: HashMap<Rc<Services>, u32>,
    /// Of two indices, the index of their union: thousands of prefixes ask for the same few.
    unions: HashMap<(u32, u32), u32>,
}

impl Sets {
    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn get(&self, index: u32) -> Rc<Services> {
        self.all[index as usize].clone()
    }

    pub fn index(&mut self, services: Services) -> u32 {
        if let Some(index) = self.known.get(&services) {
            return *index;
        }
        let (index, services) = (self.all.len() as u32, Rc::new(services));
        self.all.push(services.clone());
        self.known.insert(services, index);
        index
    }

    pub fn union(&mut self, one: u32, other: u32) -> u32 {
        if one == other {
            return one;
        }
        let pair = (one.min(other), one.max(other));
        if let Some(union) = self.unions.get(&pair) {
            return *union;
        }
        let union = self.get(one).union(&self.get(other));
        let union = self.index(union);
        self.unions.insert(pair, union);
        union
    }
}
