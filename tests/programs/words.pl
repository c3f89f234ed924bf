# Hashes, arrays and strings that grow.
use strict;
use warnings;
srand(11);
my (%count, @lines);
for my $i (1 .. 150000) {
	my $word = join '', map { chr(97 + ($i * $_ * 7919) % 26) } 1 .. 2 + $i % 9;
	$count{$word}++;
	push @lines, $word x ($i % 5) if $i % 3 == 0;
	splice @lines, 0, 1000 if @lines > 20000;
}
my $text = join ' ', @lines;
my $changed = ($text =~ s/([aeiou])/<$1>/g);
print scalar(keys %count), " ", scalar(@lines), " ", length($text), " $changed\n";
my @top = (sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count)[0 .. 9];
print "$_ $count{$_}\n" for @top;
my $nested = {};
for my $i (1 .. 40000) { $nested->{$i % 100}{$i % 1000}{$i} = [1 .. $i % 10]; }
my $sum = 0;
for my $a (values %$nested) { for my $b (values %$a) { $sum += @$_ for values %$b; } }
print "$sum\n";
