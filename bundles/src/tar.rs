//! The canonical tar: POSIX ustar, in which every byte that is not content follows from the member's name and size.
//!
//! Own code, because the point is that all 512 bytes of a header are laid down here and in the format's specification, whatever a library would choose:
//! the reader builds the header that must be there and compares.

/// Bytes in a block.
pub(crate) const BLOCK: u64 = 512;
/// Bytes after the last member.
pub(crate) const END: u64 = 2 * BLOCK;
/// Size that no member may reach: eleven octal digits.
pub(crate) const SIZE_LIMIT: u64 = 1 << 33;

/// A header block.
pub(crate) type Block = [u8; 512];

/// The header of a regular file, mode 0644, owner 0:0, modified at 0 (POSIX.1-2017, `pax`, "ustar Interchange Format").
/// `name` must be ASCII of at most 100 bytes and `size` below [`SIZE_LIMIT`].
pub(crate) fn header(name: &str, size: u64) -> Block {
    let mut block = [0; 512];
    let mut put = |offset: usize, bytes: &[u8]| block[offset..offset + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    put(329, b"0000000\0");
    put(337, b"0000000\0");
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// Name and size of a member, or nothing where the block is not exactly the header of such a member.
pub(crate) fn parse(block: &Block) -> Option<(String, u64)> {
    let end = block[..100].iter().position(|&byte| byte == 0)?;
    let name = str::from_utf8(&block[..end]).ok()?;
    let digits = str::from_utf8(&block[124..135]).ok()?;
    let size = u64::from_str_radix(digits, 8).ok()?;
    (!name.is_empty() && header(name, size) == *block).then(|| (name.to_owned(), size))
}

/// Zero bytes that follow `size` bytes of content.
pub(crate) fn padding(size: u64) -> u64 {
    size.next_multiple_of(BLOCK) - size
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_by_a_tar_library() {
        let mut archive = header("index.json", 3).to_vec();
        archive.extend(b"abc");
        archive.resize(512 * 4, 0);
        let mut archive = ::tar::Archive::new(&archive[..]);
        let entry = archive.entries().unwrap().next().unwrap().unwrap();
        let header = entry.header();
        assert_eq!((entry.path().unwrap().to_str().unwrap(), entry.size()), ("index.json", 3));
        assert_eq!((header.mode().unwrap(), header.uid().unwrap(), header.mtime().unwrap()), (0o644, 0, 0));
    }

    #[test]
    fn every_changed_byte_of_a_header_is_seen() {
        let good = header("blobs/sha256/00", 12_345);
        assert_eq!(parse(&good), Some(("blobs/sha256/00".to_owned(), 12_345)));
        for index in 0..512 {
            let mut bad = good;
            bad[index] ^= 0x01;
            assert_eq!(parse(&bad), None, "byte {index}");
        }
    }

    #[test]
    fn padding_fills_the_block() {
        assert_eq!([0, 1, 511, 512, 513].map(padding), [0, 511, 1, 0, 511]);
    }
}
