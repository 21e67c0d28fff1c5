//! Framing, connections, Via handling and resolving (RFC 3261 §18, RFC 3263).
