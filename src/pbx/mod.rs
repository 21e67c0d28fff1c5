//! The mini PBX: registrar, extensions and bridge on the same endpoint as the softphone.
