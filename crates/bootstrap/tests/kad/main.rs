//! The core of Kademlia, in networks of simulated nodes.

mod attacks;
mod basics;
mod network;
mod simulation;
