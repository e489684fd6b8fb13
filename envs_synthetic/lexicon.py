"""The words tasks are made of, and which of them may meet in one task.

Each kind of word lies on a grid of rows of WIDTH. A training task draws the words of a kind from one row, a held-out
task from one column: two words of a kind that meet in a held-out task have never met in a training task, yet every
single word is seen in training. All lists are written for this file; they are plain common words.
"""

import random

WIDTH = 15

PERSON = """
Ana Ben Clara Dan Eva Finn Greta Hugo Ida Jonas Kira Leo Mia Nils Olga Paul Quinn Rita Sam Tara Uma Victor Wendy Xenia
Yusuf Zoe Adam Bella Carl Dora Emil Fiona Gavin Helen Ivan Julia Karl Laura Marco Nadia Oscar Petra Ralf Sonia Tim
Ursula Vera Walter Yara Zack Alice Boris Cora David Elsa Felix Gloria Henry Irene Jack Katya Liam Mona Noah Otto Paula
Robin Sara Tom Ulrich Vince Wanda Yvonne Zelda Aaron Beth Cedric Diana Edgar Freya George Hanna Igor Jane Kevin Lena
Max Nora Owen Pia Rosa Simon Tessa Ugo Viola Will Ximena Yann Zara Albert Brenda Colin Denise Eric Faye Glen Holly
Isaac Jenny Keith Lucy Miles Nina Omar Polly Ross Stella Tony Una Vivian Wayne Anton Bianca Cyrus Delia Ethan Farah
Gus Hazel Ian Joan Kurt Lydia Milo Naomi Orson Priya Rafael Selma Tariq Ulla Vikram Willa Yasmin Zeno Agnes Bruno
Chloe Dylan Elena Frank Gina Hector Ines Joel Karen Lars Maya Neil Olive Pedro Ruth Stefan Thea Umar Vanja Wes Yuki
Zora Alan Bridget Carlo Daphne Erwin Flora Gerald Heidi Imran Jill Kyle Linda Martin Nelly Orla Philip Rhea Sven Tilda
Urban Valery Wilma Yosef Zita Amir Blake Celine Doris Elmer Fabio Gemma Harvey Ingrid Jared Klara Louis Magda Norman
Odette Percy Ramona Silas Talia Theo Vidya Winona Yolanda Arlo Cleo Dario Esme Gideon Hilda Jasper Leona Moritz
"""

CITY = """
Oslo Lima Cairo Paris Rome Tokyo Delhi Quito Berlin Madrid Dublin Vienna Prague Warsaw Athens Lisbon Zurich Geneva
Milan Turin Naples Venice Genoa Pisa Verona Bologna Munich Hamburg Cologne Bremen Leipzig Dresden Bonn Essen Kiel
Mainz Lyon Nice Lille Nantes Toulouse Bordeaux Rouen Dijon Tours Brest Metz Nancy London Leeds Bristol Oxford
Cambridge York Bath Dover Derby Hull Exeter Norwich Glasgow Dundee Cardiff Swansea Belfast Cork Galway Limerick Porto
Braga Faro Seville Malaga Granada Bilbao Toledo Murcia Leon Bruges Ghent Antwerp Utrecht Leiden Delft Arnhem Breda
Bergen Tromso Malmo Uppsala Lund Aarhus Odense Helsinki Turku Tampere Tallinn Tartu Riga Vilnius Kaunas Minsk Kyiv
Lviv Odesa Krakow Gdansk Lodz Poznan Brno Ostrava Graz Linz Salzburg Budapest Szeged Zagreb Split Rijeka Sofia Varna
Plovdiv Bucharest Cluj Iasi Istanbul Ankara Izmir Bursa Beirut Amman Doha Dubai Muscat Tehran Shiraz Kabul Lahore
Karachi Mumbai Pune Chennai Kolkata Jaipur Agra Dhaka Colombo Kandy Yangon Bangkok Hanoi Hue Manila Cebu Jakarta
Bandung Medan Perth Darwin Cairns Hobart Auckland Dunedin Nelson Suva Osaka Kyoto Kobe Nagoya Sapporo Sendai Nara
Seoul Busan Incheon Daegu Beijing Shanghai Wuhan Chengdu Xian Nairobi Mombasa Kampala Kigali Lusaka Harare Maputo
Durban Pretoria Windhoek Luanda Lagos Abuja Accra Lome Dakar Bamako Rabat Fez Tunis Oran Tripoli Luxor Bogota Cali
Medellin Caracas Cusco Salta Rosario Mendoza Santiago Valparaiso Montevideo Asuncion Recife Natal Belem Manaus
Curitiba Havana Boston Denver Dallas Houston Seattle Portland Chicago Detroit Memphis Tampa Miami
"""

ITEM = """
lamp chair table desk sofa shelf mirror clock carpet pillow blanket curtain vase candle basket bucket broom ladder
hammer wrench drill saw chisel shovel rake hose kettle teapot mug bowl plate spoon fork knife pan pot grill toaster
blender mixer oven fridge freezer heater fan radio camera tripod printer scanner keyboard monitor laptop tablet phone
charger cable battery speaker microphone headset guitar violin piano flute drum trumpet harp cello banjo whistle
bicycle scooter helmet saddle tire pump canoe kayak paddle anchor tent backpack lantern compass map rope whip sled ski
skate racquet ball glove bat net puck dart kite puzzle doll robot marble yoyo crayon pencil pen eraser ruler stapler
notebook folder envelope stamp parcel crate barrel jar bottle flask tray napkin towel soap sponge brush comb razor
perfume necklace bracelet ring watch wallet purse belt scarf hat cap coat jacket sweater shirt skirt dress sock boot
sandal slipper umbrella cane spectacles goggles mask cape apron uniform mitten zipper button needle thread thimble
loom quilt hammock bench stool wardrobe drawer cabinet safe padlock hinge doorbell doormat chimney gate fence mailbox
statue fountain birdhouse flowerpot sundial telescope microscope magnet prism beaker funnel thermometer barometer
stopwatch calculator projector easel canvas palette sculpture frame poster postcard magazine novel atlas dictionary
diary calendar globe trophy medal ribbon balloon confetti firework matchbox flashlight toolbox tarpaulin wheelbarrow
tractor trailer caravan ferry glider parachute propeller turbine engine radiator gearbox dynamo antenna modem router
"""

WORD = """
maple cedar birch willow aspen hazelnut juniper laurel myrtle spruce alder poplar acacia bamboo clover fern ivy lotus
orchid tulip daisy poppy lilac violet jasmine peony dahlia saffron ginger pepper cinnamon vanilla nutmeg basil thyme
sage mint parsley fennel cumin amber coral crystal diamond emerald garnet jade onyx opal pearl quartz ruby sapphire
topaz granite basalt slate copper iron nickel silver cobalt chrome titanium carbon falcon heron osprey raven sparrow
swallow condor pelican puffin badger beaver otter bison lynx jaguar panther leopard cougar tiger wolf fox bear elk
moose gazelle zebra walrus dolphin salmon trout marlin sturgeon lobster oyster harbor lagoon delta river brook glacier
canyon valley meadow prairie tundra desert oasis island summit ridge plateau volcano comet meteor nebula galaxy orbit
saturn mercury neptune jupiter eclipse aurora horizon zenith equinox solstice monsoon breeze tempest thunder lightning
blizzard rainbow cascade torrent ember beacon lighthouse castle bastion citadel temple abbey chapel palace fortress
tower arch bridge tunnel viaduct canal windmill forge foundry quarry orchard vineyard plantation garden pasture stable
granary mill bakery tavern market bazaar arcade gallery theater opera ballet sonata ballad anthem chorus cadence tempo
melody rhythm banner crest shield lance arrow saber dagger armor chariot galleon clipper schooner frigate corsair
admiral captain pilot ranger scout herald knight bishop baron duchess regent emperor pharaoh oracle prophet ebony
mahogany sorrel teak walnut mango papaya lentil pebble
"""

LISTS: dict[str, tuple[str, ...]] = {
    kind: tuple(text.split()) for kind, text in {"person": PERSON, "city": CITY, "item": ITEM, "word": WORD}.items()
}


ROWS = {kind: len(words) // WIDTH for kind, words in LISTS.items()}  # rows of the grid; a shorter rest is unused


class NoWordLeft(ValueError):
    """A draft that needs more words of a kind than one task may use."""


class Words:
    """Draws the words of one task; no word comes twice. A kind holds at least WIDTH words; more raise ValueError."""

    def __init__(self, rng: random.Random, held_out: bool) -> None:
        self.rng = rng
        self.held_out = held_out
        self.left: dict[str, list[str]] = {}
        self.codes: set[str] = set()
        self.numbers: set[int] = set()
        self.code_shape = rng.choice(sorted(CODE_SHAPES))

    def draw(self, kind: str) -> str:
        if kind not in self.left:
            cells = grid_line(kind, self.rng, self.held_out)
            self.rng.shuffle(cells)
            self.left[kind] = cells
        if not self.left[kind]:
            raise NoWordLeft(f"a task may use at most {WIDTH} words of kind {kind!r}")
        return self.left[kind].pop()

    def several(self, kind: str, count: int) -> list[str]:
        return [self.draw(kind) for _ in range(count)]

    def code(self, shape: str | None = None) -> str:
        """A short id such as 'k47' or 'TR-582', unlike every earlier one of the task."""
        while True:
            made = CODE_SHAPES[shape or self.code_shape](self.rng)
            if made not in self.codes:
                self.codes.add(made)
                return made

    def number(self, low: int = 101, high: int = 9899) -> int:
        """A whole number unlike every earlier one of the task."""
        while True:
            made = self.rng.randint(low, high)
            if made not in self.numbers:
                self.numbers.add(made)
                return made


def grid_line(kind: str, rng: random.Random, held_out: bool) -> list[str]:
    words, rows = LISTS[kind], ROWS[kind]
    if held_out:
        column = rng.randrange(WIDTH)
        return [words[row * WIDTH + column] for row in range(rows)]
    row = rng.randrange(rows)
    return list(words[row * WIDTH : (row + 1) * WIDTH])


LETTERS = "abcdefghkmnprstvwxz"  # none that reads like a digit

CODE_SHAPES = {
    "k47": lambda rng: f"{rng.choice(LETTERS)}{rng.randint(10, 99)}",
    "TR-582": lambda rng: f"{rng.choice(LETTERS)}{rng.choice(LETTERS)}-{rng.randint(100, 999)}".upper(),
    "B1074": lambda rng: f"{rng.choice(LETTERS).upper()}{rng.randint(1000, 9999)}",
    "q-306": lambda rng: f"{rng.choice(LETTERS)}-{rng.randint(100, 999)}",
    "73XD": lambda rng: f"{rng.randint(10, 99)}{rng.choice(LETTERS)}{rng.choice(LETTERS)}".upper(),
}
