//! Numbers of accounts (IBAN) and cards in a stream of bytes, told apart from other numbers by their check digits.

/// What was found so far, and the number under way.
#[derive(Default)]
pub struct Numbers {
    pub accounts: u32,
    pub cards: u32,
    /// Letters and digits of the group of words under way.
    run: Vec<u8>,
    /// The byte before was the blank or dash between two of its words.
    gap: bool,
    /// What is under way is no such number: nothing is looked at before the next word.
    skip: bool,
}

/// The longest number there is.
const RUN_MAX: usize = 34;

impl Numbers {
    pub fn all(&self) -> u32 {
        self.accounts + self.cards
    }

    /// The next byte of the text.
    pub fn look(&mut self, byte: u8) {
        match byte {
            b'A'..=b'Z' | b'0'..=b'9' if !self.skip => {
                self.gap = false;
                self.run.push(byte);
                self.skip = self.run.len() > RUN_MAX || !self.may_go_on();
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => self.skip = true,
            b' ' | b'-' if !self.skip && !self.gap && !self.run.is_empty() => match self.count() {
                true => self.begin(),
                false => self.gap = true,
            },
            _ => {
                if !self.skip {
                    self.count();
                }
                self.begin();
            }
        }
    }

    fn begin(&mut self) {
        self.run.clear();
        (self.gap, self.skip) = (false, false);
    }

    /// Two letters and two digits, or digits alone.
    fn may_go_on(&self) -> bool {
        let run = &self.run[..];
        let account = run.iter().take(4).enumerate().all(|(at, byte)| match at < 2 {
            true => byte.is_ascii_uppercase(),
            false => byte.is_ascii_digit(),
        });
        account || run.iter().all(u8::is_ascii_digit)
    }

    /// Counts what is under way, if it is a number of one kind or the other.
    fn count(&mut self) -> bool {
        let (account, card) = (is_account(&self.run), is_card(&self.run));
        self.accounts += u32::from(account);
        self.cards += u32::from(card);
        account || card
    }
}

/// ISO 13616: the first four go to the end, letters count from ten, and the rest of a division by 97 is one.
fn is_account(run: &[u8]) -> bool {
    if run.len() < 15 || !run[..2].iter().all(u8::is_ascii_uppercase) || !run[2..4].iter().all(u8::is_ascii_digit) {
        return false;
    }
    let rest = run[4..].iter().chain(&run[..4]).fold(0_u32, |rest, byte| match byte {
        b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
        _ => (rest * 100 + u32::from(byte - b'A') + 10) % 97,
    });
    rest == 1
}

/// ISO 7812: every second digit from the right counts twice, and the sum ends in zero.
fn is_card(run: &[u8]) -> bool {
    if !(13..=19).contains(&run.len()) || !run.iter().all(u8::is_ascii_digit) || run[0] == b'0' {
        return false;
    }
    let sum: u32 = run
        .iter()
        .rev()
        .enumerate()
        .map(|(at, byte)| match (u32::from(byte - b'0'), at % 2) {
            (digit, 0) => digit,
            (digit, _) if digit > 4 => digit * 2 - 9,
            (digit, _) => digit * 2,
        })
        .sum();
    sum % 10 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_by_their_check_digits() {
        for (text, accounts, cards, why) in [
            ("pay to DE89 3704 0044 0532 0130 00, please", 1, 0, "an IBAN in groups"),
            ("pay to DE89370400440532013000 please", 1, 0, "and in one"),
            ("pay to DE88 3704 0044 0532 0130 00.", 0, 0, "a wrong check digit"),
            ("card 4111 1111 1111 1111 of Ann", 0, 1, "a card in groups"),
            ("card 4111-1111-1111-1111", 0, 1, "with dashes, at the end"),
            ("card 4111111111111112", 0, 0, "a wrong check digit"),
            ("call +49 30 1234567", 0, 0, "a telephone number"),
            ("GB82 WEST 1234 5698 7654 32 and 5555555555554444", 1, 1, "letters within, and both in one text"),
            ("THE END DE89370400440532013000", 1, 0, "capitals before it are no beginning of one"),
        ] {
            let mut numbers = Numbers::default();
            format!("{text}\n").bytes().for_each(|byte| numbers.look(byte));
            assert_eq!((numbers.accounts, numbers.cards), (accounts, cards), "{text}: {why}");
        }
    }
}
