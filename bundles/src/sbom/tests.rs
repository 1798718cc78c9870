use std::collections::BTreeMap;

use proptest::prelude::*;
use qiji_blueprint::part::PartKind;
use serde_json::Value;

use super::*;

const LICENCES: [Option<&str>; 4] =
    [None, Some("MIT"), Some("MIT OR Apache-2.0"), Some("LicenseRef-x-odd AND ISC")];

fn part_strategy() -> impl Strategy<Value = Part> {
    let kind = proptest::sample::select(PartKind::ALL.to_vec());
    let licence = proptest::sample::select(LICENCES.to_vec());
    (kind, "[a-z]{1,8}(/[a-zA-Z.]{1,8})?", "[0-9v.:+~-]{0,8}", licence).prop_map(
        |(kind, name, version, licence)| Part { kind, name, version, licence: licence.map(str::to_owned) },
    )
}

fn ingredient_strategy() -> impl Strategy<Value = Ingredient> {
    let parts = proptest::collection::btree_set(part_strategy(), 0..6);
    (part_strategy(), any::<[u8; 8]>(), "[ -~]{1,30}", parts).prop_map(|(part, seed, origin, parts)| {
        let parts: Vec<_> = parts.into_iter().collect();
        let odd = parts
            .iter()
            .chain([&part])
            .any(|one| one.licence.as_deref().is_some_and(|it| it.contains("x-odd")));
        let texts = odd.then(|| ("LicenseRef-x-odd".to_owned(), "Take it,\nor leave it.".to_owned()));
        Ingredient {
            part,
            digest: Digest::of(&seed),
            origin,
            parts,
            licence_texts: texts.into_iter().collect(),
        }
    })
}

fn description_strategy() -> impl Strategy<Value = Description> {
    let arch = Arch::Loong64;
    let subjects = vec![
        Subject::Image { name: "qiji.local/a/b:v1".to_owned(), arch },
        Subject::Package { name: "b".to_owned(), arch },
        Subject::Chart { name: "c".to_owned() },
    ];
    let subject = proptest::sample::select(subjects);
    (subject, proptest::collection::vec(ingredient_strategy(), 0..4)).prop_map(|(subject, ingredients)| {
        Description::new(subject, "1.2", Digest::of(b"manifest"), ingredients)
    })
}

proptest! {
    #[test]
    fn what_was_written_is_read_back(description in description_strategy()) {
        let bytes = description.to_spdx();
        prop_assert_eq!(&Description::from_spdx(&bytes).unwrap(), &description);
        let mut shuffled = description.clone();
        shuffled.ingredients.reverse();
        let again = Description::new(shuffled.subject, "1.2", shuffled.digest, shuffled.ingredients);
        prop_assert_eq!(again.to_spdx(), bytes);
    }

    #[test]
    fn every_element_is_named_once_and_every_licence_has_its_text(description in description_strategy()) {
        let document: Value = serde_json::from_slice(&description.to_spdx()).unwrap();
        let list = |key: &str| document[key].as_array().cloned().unwrap_or_default();
        let mut ids = BTreeMap::new();
        for package in list("packages") {
            prop_assert!(package["licenseDeclared"].is_string());
            prop_assert_eq!(ids.insert(package["SPDXID"].to_string(), package.clone()), None);
        }
        for relationship in list("relationships") {
            prop_assert!(ids.contains_key(&relationship["relatedSpdxElement"].to_string()));
        }
        let whole = document["packages"].to_string();
        prop_assert_eq!(whole.contains("LicenseRef-x-odd"), !list("hasExtractedLicensingInfos").is_empty());
    }

    #[test]
    fn other_bytes_are_refused_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Description::from_spdx(&bytes).is_err());
    }
}

#[test]
fn a_document_of_another_shape_is_told() {
    let description = Description::new(
        Subject::Package { name: "b".to_owned(), arch: Arch::Amd64 },
        "1",
        Digest::of(b"m"),
        Vec::new(),
    );
    let good = String::from_utf8(description.to_spdx()).unwrap();
    let cases = [
        ("SPDX-2.3", "SPDX-2.2", "SPDX-2.2"),
        ("INSTALL", "LIBRARY", "is no image, no host package and no chart"),
        ("SHA256", "SHA1", "checksum"),
        ("arch=amd64", "arch=vax", "architecture"),
        ("\"versionInfo\":\"1\"", "\"versionInfo\":\"\\u001b[2J\"", "control characters"),
        ("DESCRIBES", "DEPENDS_ON", "exactly one"),
        ("\"SPDXRef-0\",\"name\"", "\"SPDXRef-9\",\"name\"", "SPDXRef-0"),
    ];
    for (from, to, told) in cases {
        let text = Description::from_spdx(good.replace(from, to).as_bytes()).unwrap_err().to_string();
        assert!(text.contains(told), "{from}: {text}");
    }
}
