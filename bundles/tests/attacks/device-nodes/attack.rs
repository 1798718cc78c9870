use tar::EntryType;

use crate::forge::{self, Special};
use crate::victim::Victim;

#[test]
fn of_each_type() {
    let victim = Victim::new();
    let good = forge::members(&victim.vendor);
    for kind in [b'3', b'4', b'5', b'6', b'7', b'V', b'D', 0xff] {
        let kind = EntryType::new(kind);
        for (place, name) in [(0, "dev/sda"), (1, good[1].0.as_str()), (good.len() - 2, "index.json")] {
            let special = Special { name, kind, target: "", content: b"" };
            victim
                .refuses(&forge::with_special(&good, place, &special))
                .untrustworthy("the header of member ");
        }
    }
}
