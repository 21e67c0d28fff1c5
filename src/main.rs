//! The `bellwire` binary.

use bellwire::app::exit::Exit;

fn main() -> Exit {
    bellwire::app::run::main()
}
