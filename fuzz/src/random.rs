//! Seeds for targets whose input is a series of choices: bytes that look random and are the same each time.

/// Some series of choices of several lengths.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    [0, 16, 64, 256, 1024, 4096].map(bytes).to_vec()
}

/// xorshift64* (Vigna 2016).
fn bytes(count: usize) -> Vec<u8> {
    let mut state = count as u64 + 1;
    let mut next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_be_bytes()[0]
    };
    (0..count).map(|_| next()).collect()
}
