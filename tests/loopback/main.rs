//! Two drivers over real sockets on the loopback interface.
