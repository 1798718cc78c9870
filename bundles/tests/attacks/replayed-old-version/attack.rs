use qiji_bundle::{Class, SiteTrust, Verified};

use crate::fixture::sample;
use crate::victim::Victim;

fn release(victim: &Victim, version: &str) -> Verified {
    let (mut spec, store) = sample();
    version.clone_into(&mut spec.version);
    let path = victim.vendor.write(&format!("{version}.qiji"), &spec, &store).0;
    victim.vendor.verify(&path).unwrap()
}

#[test]
fn is_refused_unless_it_is_told_by_its_version() {
    let victim = Victim::new();
    let mut site = SiteTrust::default();
    site.accept(&release(&victim, "1.10.0"));
    for (version, told) in [("1.9.9", None), ("1.2.3", None), ("1.2.3", Some("1.2.4")), ("1.10.0-rc.1", None)]
    {
        let error = site.admit(&release(&victim, version), told).unwrap_err();
        assert_eq!((error.class(), error.class().exit_status()), (Class::Untrustworthy, 4), "{error}");
        assert_eq!(
            error.to_string(),
            format!("demo {version} is older than 1.10.0, which this site has accepted")
        );
        assert!(error.hint().contains(&format!("--accept-older {version}")), "{}", error.hint());
    }
    for version in ["1.10.0", "1.10.1", "2.0.0"] {
        site.admit(&release(&victim, version), None).unwrap();
    }
    site.admit(&release(&victim, "1.2.3"), Some("1.2.3")).unwrap();
}

#[test]
fn is_not_forgotten_by_going_back_once() {
    let victim = Victim::new();
    let mut site = SiteTrust::default();
    site.accept(&release(&victim, "2.0.0"));
    site.accept(&release(&victim, "1.0.0"));
    site.admit(&release(&victim, "1.0.0"), None).unwrap();
    site.admit(&release(&victim, "1.5.0"), None).unwrap_err();
    let kept = SiteTrust::parse("site", &site.to_text()).unwrap();
    kept.admit(&release(&victim, "1.5.0"), None).unwrap_err();
}
