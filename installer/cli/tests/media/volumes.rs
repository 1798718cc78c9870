//! Splitting, losing, repairing and joining.

use insta::assert_snapshot;

use crate::desk::Desk;

fn split(desk: &Desk, parity: &str) -> String {
    desk.qiji(&format!("split @demo.qiji --volume-size 1.1MB --parity {parity}"))
}

#[test]
fn a_lost_and_a_damaged_volume() {
    let desk = Desk::new();
    let whole = fs_err::read(desk.path("demo.qiji")).unwrap();
    assert_snapshot!(split(&desk, "2"));
    fs_err::remove_file(desk.path("demo.qiji")).unwrap();
    assert_snapshot!(desk.qiji("verify @demo.qiji --trust @key.pub"));

    fs_err::remove_file(desk.path("demo.qiji.001")).unwrap();
    let mut bytes = fs_err::read(desk.path("demo.qiji.003")).unwrap();
    bytes[100_000..110_000].fill(0);
    fs_err::write(desk.path("demo.qiji.003"), bytes).unwrap();
    assert_snapshot!(desk.qiji("verify @demo.qiji.001 --trust @key.pub"));
    let inspected = desk.qiji("inspect @demo.qiji --trust @key.pub");
    let warning = "volume 003 (demo.qiji.003) is damaged in bytes 98304 to 110591\n";
    assert!(inspected.starts_with("status 0\n") && inspected.contains(warning), "{inspected}");
    assert_snapshot!(desk.qiji("verify @ --trust @key.pub --repair --json"));
    assert_snapshot!(desk.qiji("join @ --trust @key.pub --output @joined"));
    assert!(fs_err::read(desk.path("joined")).unwrap() == whole);
}

#[test]
fn more_than_parity_restores() {
    let desk = Desk::new();
    split(&desk, "25%");
    for lost in ["001", "p01"] {
        fs_err::remove_file(desk.path(&format!("demo.qiji.{lost}"))).unwrap();
    }
    assert_snapshot!(desk.qiji("verify @ --trust @key.pub --repair"));
    assert!(!desk.path("demo.qiji.001").exists());
}

#[test]
fn what_makes_no_sense_is_told() {
    let desk = Desk::new();
    assert_snapshot!(desk.qiji("split @demo.qiji --volume-size 10kB"));
    assert_snapshot!(split(&desk, "4"));
    assert_snapshot!(desk.qiji("split @key.pub --volume-size 1MB"));
    assert_snapshot!(desk.qiji("verify @demo.qiji --trust @key.pub --repair"));
    assert_snapshot!(desk.qiji("verify @nothing.qiji.001 --trust @key.pub"));
    assert_snapshot!(desk.qiji("verify @ --trust @key.pub"));
    split(&desk, "0");
    assert_snapshot!(desk.qiji("split @demo.qiji --volume-size 2MB"));
}
