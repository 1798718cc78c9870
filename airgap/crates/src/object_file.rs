//! An object file with one section, for the linker.

use object::write::{Object, Symbol, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, FileFlags, SectionFlags, SectionKind, SymbolFlags, SymbolKind,
    SymbolScope,
};

/// The symbol at the start of the list; the name that `cargo auditable` has for it.
pub(crate) const SYMBOL: &str = "AUDITABLE_VERSION_INFO";

/// What object files of a target are like.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    architecture: Architecture,
    /// The flags that say how numbers are passed; linkers refuse to mix them.
    flags: u32,
}

impl Kind {
    /// Of a Linux target that qiji is built for; nothing for others.
    pub(crate) fn of(target: &str) -> Option<Self> {
        let (machine, _) = target.split_once('-').filter(|_| target.contains("-linux-"))?;
        let (architecture, flags) = match machine {
            "x86_64" => (Architecture::X86_64, 0),
            "aarch64" => (Architecture::Aarch64, 0),
            // LoongArch ELF psABI: object file ABI version 1, double-precision registers.
            "loongarch64" => (Architecture::LoongArch64, 0x43),
            // RISC-V ELF psABI: compressed instructions, double-precision registers.
            "riscv64gc" | "riscv64a23" => (Architecture::Riscv64, 0x5),
            _ => return None,
        };
        Some(Self { architecture, flags })
    }
}

/// Writes the object file.
pub(crate) fn write(kind: &Kind, content: &[u8]) -> Result<Vec<u8>, object::write::Error> {
    let mut object = Object::new(BinaryFormat::Elf, kind.architecture, Endianness::Little);
    object.flags = FileFlags::Elf { os_abi: 0, abi_version: 0, e_flags: kind.flags };
    let section = object.add_section(Vec::new(), b".dep-v0".to_vec(), SectionKind::ReadOnlyData);
    let offset = object.append_section_data(section, content, 1);
    object.add_symbol(Symbol {
        name: SYMBOL.as_bytes().to_vec(),
        value: offset,
        size: content.len() as u64,
        kind: SymbolKind::Data,
        scope: SymbolScope::Dynamic,
        weak: false,
        section: SymbolSection::Section(section),
        flags: SymbolFlags::None,
    });
    // Without this section, linkers take it that the file needs an executable stack.
    let stack = object.add_section(Vec::new(), b".note.GNU-stack".to_vec(), SectionKind::Other);
    object.section_mut(stack).flags = SectionFlags::Elf { sh_flags: 0 };
    object.write()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_of_qiji_are_known_and_others_are_left_alone() {
        for target in [
            "x86_64-unknown-linux-musl",
            "aarch64-unknown-linux-musl",
            "loongarch64-unknown-linux-musl",
            "riscv64gc-unknown-linux-musl",
        ] {
            let kind = Kind::of(target).unwrap();
            let bytes = write(&kind, b"list").unwrap();
            assert!(bytes.starts_with(b"\x7fELF"), "{target}");
            assert_eq!(u32::from_le_bytes(bytes[48..52].try_into().unwrap()), kind.flags, "{target}");
        }
        assert_eq!(Kind::of("x86_64-pc-windows-msvc"), None);
        assert_eq!(Kind::of("s390x-unknown-linux-gnu"), None);
    }
}
