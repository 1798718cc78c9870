//! Throw-away hosts on the machine at hand, for rehearsals and whole-system tests.
//!
//! A [`Testbed`] is one site: its hosts, the network between them, and nothing else. It starts like this:
//!
//! 1. [`requirements`] gathers everything the machine lacks, so that a person is told once.
//! 2. The janitor removes what an earlier owner left behind when it was killed.
//! 3. A folder `/var/lib/qiji-hosts/ID` is made. It names its owner and holds every file of the site.
//! 4. The network: a *site* namespace with one bridge a subnet, a *world* namespace behind it, one namespace a host.
//! 5. All hosts at once: disk, control groups, boot, until sshd answers (and systemd has settled, where there is one).
//!
//! Two kinds of host ([`Kind`]): `Netns` is a real sshd in namespaces of its own over the machine's `/usr`, up in a
//! fraction of a second; `Nspawn` is a whole Debian with systemd, fit for real containerd and kubelet.
//!
//! # Guarantees
//! - Dropping a [`Testbed`] removes every process, mount, namespace, link, control group and file of the site. So do a
//!   panic, SIGINT, SIGTERM and SIGHUP of the owner. After SIGKILL the next [`Testbed::start`] (or [`sweep`]) does.
//! - Sites do not see one another, and may use the same addresses. Nothing is added to the machine's own network namespace.
//! - A packet to an address outside the site's subnets is carried to the world namespace, counted there and dropped
//!   ([`Testbed::escaped`]). The world namespace is joined to nothing, so nothing ever leaves the machine.
//!
//! # Limits
//! - Root only. IPv4 subnets only. Hosts share the machine's kernel: there are no modules, clocks or kernel parameters
//!   of their own (see [`quirks`] for what that asks of software in them).
//! - Hosts can be trusted not to break out: root in a host has all capabilities. This is for tests, not for tenants.

mod base;
mod cgroup;
mod command;
mod disk;
mod error;
mod host;
mod net;
pub mod quirks;
mod requirements;
mod site;
mod snapshot;
mod spec;
mod testbed;

pub use command::Output;
pub use error::{Fault, HostsError};
pub use host::Host;
pub use net::Escaped;
pub use requirements::{Missing, requirements};
pub use site::sweep;
pub use snapshot::{Area, Difference, EXCLUDED, HostState};
pub use spec::{HostSpec, Kind, OpsUser, Subnet, Sudo, TestbedSpec};
pub use testbed::Testbed;
