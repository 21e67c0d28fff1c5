//! The mio loop around the engines: sockets, clock, resolver, writer thread.
