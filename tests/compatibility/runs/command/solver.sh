# Halves what the deck says: 0.5 width and 0.5 depth, and their difference.
echo called >> "$OLD_RUNS/calls"
awk '{ print $1, "=", $2 / 2 }' deck.txt > halves.txt
