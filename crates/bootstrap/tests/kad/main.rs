//! The core of Kademlia, in networks of simulated nodes.

mod attacks;
mod basics;
mod faults;
mod lone;
mod network;
mod senders;
mod simulation;
mod unfit;
