//! How many may come in: TCP connections that speak HTTP, sockets that wait for their handshake, and established connections, each by
//! address and in all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::limits::Limits;
use crate::metrics::{self, Limit};

/// What a place is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// A TCP connection that speaks HTTP.
    Http,
    /// A WebSocket before `hello-ok`.
    Waiting,
    /// A WebSocket after it.
    Established,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    http: usize,
    waiting: usize,
    established: usize,
}

impl Counts {
    fn of(&mut self, stage: Stage) -> &mut usize {
        match stage {
            Stage::Http => &mut self.http,
            Stage::Waiting => &mut self.waiting,
            Stage::Established => &mut self.established,
        }
    }

    fn is_empty(&self) -> bool {
        self.http + self.waiting + self.established == 0
    }
}

#[derive(Debug, Default)]
struct State {
    all: Counts,
    by_address: HashMap<IpAddr, Counts>,
}

/// Who has come in.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    state: Mutex<State>,
}

/// Who asks for a place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Visitor {
    pub(crate) address: IpAddr,
    /// Many come from there, and are not one: this machine, or a declared proxy.
    pub(crate) stands_for_many: bool,
}

impl Admission {
    /// Gives a visitor a place, or says which limit is reached.
    pub(crate) fn enter(self: &Arc<Self>, visitor: Visitor, stage: Stage, limits: &Limits) -> Result<Place, Limit> {
        let mut counted = self.state();
        let (all, address) = (counted.all, counted.by_address.get(&visitor.address).copied().unwrap_or_default());
        let one = !visitor.stands_for_many;
        let reached = match stage {
            Stage::Http if all.http >= limits.http_max => Some(Limit::Http),
            Stage::Http if one && address.http >= limits.http_per_address_max => Some(Limit::HttpPerAddress),
            Stage::Http => None,
            _ if address.waiting >= limits.unauthenticated_per_address_max => Some(Limit::UnauthenticatedPerAddress),
            _ if all.waiting >= limits.unauthenticated_max => Some(Limit::Unauthenticated),
            _ if all.waiting + all.established >= limits.connections_max => Some(Limit::Connections),
            _ if one && address.waiting + address.established >= limits.connections_per_address_max => Some(Limit::ConnectionsPerAddress),
            _ => None,
        };
        if let Some(limit) = reached {
            metrics::reached(limit);
            return Err(limit);
        }
        *counted.all.of(stage) += 1;
        *counted.by_address.entry(visitor.address).or_default().of(stage) += 1;
        drop(counted);
        Ok(Place { admission: Arc::clone(self), address: visitor.address, stage })
    }

    /// Gives a connection that another edge had let in a place.
    pub(crate) fn take_over(self: &Arc<Self>, address: IpAddr) -> Place {
        let mut counted = self.state();
        counted.all.established += 1;
        counted.by_address.entry(address).or_default().established += 1;
        drop(counted);
        Place { admission: Arc::clone(self), address, stage: Stage::Established }
    }

    /// How many wait for their handshake, are established, and speak HTTP.
    pub(crate) fn counts(&self) -> (usize, usize, usize) {
        let all = self.state().all;
        (all.waiting, all.established, all.http)
    }

    fn leave(&self, address: IpAddr, stage: Stage) {
        let mut counted = self.state();
        *counted.all.of(stage) -= 1;
        if let Some(counts) = counted.by_address.get_mut(&address) {
            *counts.of(stage) -= 1;
            if counts.is_empty() {
                counted.by_address.remove(&address);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place that was given; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Place {
    admission: Arc<Admission>,
    address: IpAddr,
    stage: Stage,
}

impl Place {
    /// Whose it is.
    pub(crate) fn address(&self) -> IpAddr {
        self.address
    }

    /// The handshake is done: the place is an established connection's.
    pub(crate) fn establish(&mut self) {
        let mut state = self.admission.state();
        let mut shift = |counts: &mut Counts| {
            *counts.of(self.stage) -= 1;
            *counts.of(Stage::Established) += 1;
        };
        shift(&mut state.all);
        state.by_address.get_mut(&self.address).map(&mut shift);
        drop(state);
        self.stage = Stage::Established;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.admission.leave(self.address, self.stage);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visitor(last: u8, stands_for_many: bool) -> Visitor {
        Visitor { address: IpAddr::from([203, 0, 113, last]), stands_for_many }
    }

    fn limits() -> Limits {
        Limits {
            unauthenticated_per_address_max: 2,
            unauthenticated_max: 3,
            connections_per_address_max: 4,
            connections_max: 6,
            http_per_address_max: 1,
            http_max: 2,
            ..Limits::default()
        }
    }

    #[test]
    fn sec_14_each_limit_is_its_own_and_is_counted() {
        let (admission, limits) = (Arc::new(Admission::default()), limits());
        let enter = |last, stage| admission.enter(visitor(last, false), stage, &limits);
        let waiting = [enter(1, Stage::Waiting).unwrap(), enter(1, Stage::Waiting).unwrap()];
        assert_eq!(enter(1, Stage::Waiting).unwrap_err(), Limit::UnauthenticatedPerAddress);
        let third = enter(2, Stage::Waiting).unwrap();
        assert_eq!(enter(3, Stage::Waiting).unwrap_err(), Limit::Unauthenticated);
        drop((waiting, third));
        let mut established = Vec::new();
        for _ in 0..4 {
            let mut place = enter(1, Stage::Waiting).unwrap();
            place.establish();
            established.push(place);
        }
        assert_eq!(enter(1, Stage::Waiting).unwrap_err(), Limit::ConnectionsPerAddress);
        established.extend((0..2).map(|_| enter(2, Stage::Waiting).unwrap()));
        assert_eq!(enter(3, Stage::Waiting).unwrap_err(), Limit::Connections);
        let http = [enter(1, Stage::Http).unwrap(), enter(2, Stage::Http).unwrap()];
        assert_eq!(enter(1, Stage::Http).unwrap_err(), Limit::Http);
        assert_eq!(admission.counts(), (2, 4, 2));
        drop((established, http));
        assert_eq!(admission.counts(), (0, 0, 0));
        assert!(admission.state().by_address.is_empty(), "an address that left is forgotten");
        assert!(metrics::times_reached(Limit::Connections) >= 1.0);
    }

    #[test]
    fn a_proxy_is_not_taken_for_one_client() {
        let (admission, limits) = (Arc::new(Admission::default()), limits());
        let mut places = Vec::new();
        for _ in 0..6 {
            let mut place = admission.enter(visitor(1, true), Stage::Waiting, &limits).unwrap();
            place.establish();
            places.push(place);
        }
        assert_eq!(admission.enter(visitor(1, true), Stage::Waiting, &limits).unwrap_err(), Limit::Connections);
    }
}
