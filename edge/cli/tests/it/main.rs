//! The built `verso`, as a shell or a script meets it, where no gateway runs.

mod arguments;
mod configuration;
mod fixture;
mod without_a_gateway;
