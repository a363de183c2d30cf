"""Text for synthesised speech: the bundled corpus's stories, and a sentence generator for codec training.

Everything here is written for this project; nothing is quoted. The stories share one small vocabulary so
that a tiny model can learn something from 80 utterances; the generator aims at variety of sounds instead.
"""

import random

# Five documents of four utterances, told in each language. Within a document the two speakers alternate.
STORIES = {
    "en": [
        ["Good morning, the kitchen is warm.", "Good morning, the bread is fresh.",
         "The cat is sleeping on the chair.", "The dog is waiting for the bread."],
        ["Where is the little cat today?", "The little cat is in the garden.",
         "And where is the little dog?", "The little dog is in the kitchen."],
        ["The sun is warm in the morning.", "The garden is green and quiet.",
         "My sister is reading on the chair.", "My brother is walking with the dog."],
        ["Today it is raining in the garden.", "The cat is looking at the rain.",
         "My brother is reading in the kitchen.", "My sister is making fresh bread."],
        ["Good evening, the house is quiet.", "Good evening, the moon is in the window.",
         "The dog is sleeping by the window.", "Good night, little cat, good night."],
    ],
    "es": [
        ["Buenos días, la cocina está caliente.", "Buenos días, el pan está fresco.",
         "El gato duerme en la silla.", "El perro espera el pan."],
        ["¿Dónde está hoy el gato pequeño?", "El gato pequeño está en el jardín.",
         "¿Y dónde está el perro pequeño?", "El perro pequeño está en la cocina."],
        ["El sol calienta por la mañana.", "El jardín está verde y tranquilo.",
         "Mi hermana lee en la silla.", "Mi hermano camina con el perro."],
        ["Hoy llueve en el jardín.", "El gato mira la lluvia.",
         "Mi hermano lee en la cocina.", "Mi hermana hace pan fresco."],
        ["Buenas noches, la casa está tranquila.", "Buenas noches, la luna está en la ventana.",
         "El perro duerme junto a la ventana.", "Buenas noches, gato pequeño, buenas noches."],
    ],
    "fr": [
        ["Bonjour, la cuisine est chaude.", "Bonjour, le pain est frais.",
         "Le chat dort sur la chaise.", "Le chien attend le pain."],
        ["Où est le petit chat aujourd'hui ?", "Le petit chat est dans le jardin.",
         "Et où est le petit chien ?", "Le petit chien est dans la cuisine."],
        ["Le soleil est chaud le matin.", "Le jardin est vert et calme.",
         "Ma sœur lit sur la chaise.", "Mon frère marche avec le chien."],
        ["Aujourd'hui il pleut dans le jardin.", "Le chat regarde la pluie.",
         "Mon frère lit dans la cuisine.", "Ma sœur fait du pain frais."],
        ["Bonsoir, la maison est calme.", "Bonsoir, la lune est dans la fenêtre.",
         "Le chien dort près de la fenêtre.", "Bonne nuit, petit chat, bonne nuit."],
    ],
    "de": [
        ["Guten Morgen, die Küche ist warm.", "Guten Morgen, das Brot ist frisch.",
         "Die Katze schläft auf dem Stuhl.", "Der Hund wartet auf das Brot."],
        ["Wo ist heute die kleine Katze?", "Die kleine Katze ist im Garten.",
         "Und wo ist der kleine Hund?", "Der kleine Hund ist in der Küche."],
        ["Die Sonne ist warm am Morgen.", "Der Garten ist grün und ruhig.",
         "Meine Schwester liest auf dem Stuhl.", "Mein Bruder geht mit dem Hund."],
        ["Heute regnet es im Garten.", "Die Katze schaut in den Regen.",
         "Mein Bruder liest in der Küche.", "Meine Schwester macht frisches Brot."],
        ["Guten Abend, das Haus ist ruhig.", "Guten Abend, der Mond ist im Fenster.",
         "Der Hund schläft am Fenster.", "Gute Nacht, kleine Katze, gute Nacht."],
    ],
}

# Slots of "{when} {who} {does} {what} {where}"; every entry is third person singular, so any choice agrees.
SLOTS = {
    "en": {
        "when": ["yesterday", "on Thursday", "before breakfast", "after the storm", "at half past five", "in autumn",
                 "once a year", "just now", "during the journey", "long ago"],
        "who": ["the fisherman", "a young doctor", "my neighbour", "the old clockmaker", "her youngest son",
                "the judge", "a thirsty horse", "the village choir", "our guide", "the zookeeper", "George"],
        "does": ["found", "carried", "showed us", "painted", "sold", "measured", "dropped", "brought back",
                 "watched", "chose", "fixed", "borrowed"],
        "what": ["a blue umbrella", "the heavy suitcase", "five yellow pears", "a strange photograph",
                 "the broken engine", "two loaves of bread", "a measuring tape", "an unusual shell",
                 "the missing key", "a cup of ginger tea", "their favourite puzzle", "a joyful song"],
        "where": ["under the bridge", "beside the church", "in the valley", "at the airport", "on the third floor",
                  "behind the theatre", "near the orchard", "across the ocean", "in front of the school"],
    },
    "es": {
        "when": ["ayer", "el jueves", "antes del desayuno", "después de la tormenta", "a las cinco y media",
                 "en otoño", "cada año", "ahora mismo", "durante el viaje", "hace mucho tiempo"],
        "who": ["el pescador", "una doctora joven", "mi vecino", "el viejo relojero", "su hijo menor", "la jueza",
                "un caballo sediento", "el coro del pueblo", "nuestra guía", "Guillermo", "la señora Núñez"],
        "does": ["encontró", "llevó", "enseñó", "pintó", "vendió", "midió", "dejó caer", "trajo", "observó",
                 "eligió", "arregló", "pidió"],
        "what": ["un paraguas azul", "la maleta pesada", "cinco peras amarillas", "una fotografía extraña",
                 "el motor roto", "dos panes grandes", "una cinta métrica", "una concha rara",
                 "la llave perdida", "una taza de té", "su juego favorito", "una canción alegre"],
        "where": ["debajo del puente", "junto a la iglesia", "en el valle", "en el aeropuerto", "en el tercer piso",
                  "detrás del teatro", "cerca del huerto", "al otro lado del río", "frente a la escuela"],
    },
    "fr": {
        "when": ["hier", "jeudi dernier", "avant le déjeuner", "après l'orage", "à cinq heures et demie",
                 "en automne", "une fois par an", "tout à l'heure", "pendant le voyage", "il y a longtemps"],
        "who": ["le pêcheur", "une jeune femme", "mon voisin", "le vieil horloger", "son plus jeune fils", "le juge",
                "un cheval assoiffé", "la chorale du village", "notre guide", "Guillaume", "la boulangère"],
        "does": ["a trouvé", "a porté", "a montré", "a peint", "a vendu", "a mesuré", "a laissé tomber",
                 "a rapporté", "a regardé", "a choisi", "a réparé", "a emprunté"],
        "what": ["un parapluie bleu", "la lourde valise", "cinq poires jaunes", "une étrange photographie",
                 "le moteur cassé", "deux grands pains", "un mètre ruban", "un coquillage rare",
                 "la clé perdue", "une tasse de thé", "son jeu préféré", "une chanson joyeuse"],
        "where": ["sous le pont", "à côté de l'église", "dans la vallée", "à l'aéroport", "au troisième étage",
                  "derrière le théâtre", "près du verger", "de l'autre côté du fleuve", "devant l'école"],
    },
    "de": {
        "when": ["gestern", "am Donnerstag", "vor dem Frühstück", "nach dem Gewitter", "um halb sechs", "im Herbst",
                 "einmal im Jahr", "gerade eben", "während der Reise", "vor langer Zeit"],
        "who": ["der Fischer", "eine junge Ärztin", "mein Nachbar", "der alte Uhrmacher", "ihr jüngster Sohn",
                "die Richterin", "ein durstiges Pferd", "der Dorfchor", "unsere Führerin", "Jürgen"],
        "does": ["fand", "trug", "zeigte", "malte", "verkaufte", "vermaß", "verlor", "holte", "sah", "wählte",
                 "reparierte", "lieh"],
        "what": ["einen blauen Regenschirm", "den schweren Koffer", "fünf gelbe Birnen", "ein seltsames Foto",
                 "den kaputten Motor", "zwei große Brote", "ein langes Maßband", "eine seltene Muschel",
                 "den verlorenen Schlüssel", "eine Tasse Tee", "ihr liebstes Rätsel", "ein fröhliches Lied"],
        "where": ["unter der Brücke", "neben der Kirche", "im Tal", "am Flughafen", "im dritten Stock",
                  "hinter dem Theater", "in der Nähe des Gartens", "jenseits des Flusses", "vor der Schule"],
    },
    "it": {
        "when": ["ieri", "giovedì scorso", "prima di colazione", "dopo il temporale", "alle cinque e mezza",
                 "in autunno", "una volta all'anno", "poco fa", "durante il viaggio", "molto tempo fa"],
        "who": ["il pescatore", "una giovane dottoressa", "il mio vicino", "il vecchio orologiaio",
                "suo figlio minore", "la giudice", "un cavallo assetato", "il coro del paese", "la nostra guida"],
        "does": ["ha trovato", "ha portato", "ha mostrato", "ha dipinto", "ha venduto", "ha misurato",
                 "ha lasciato", "ha guardato", "ha scelto", "ha aggiustato"],
        "what": ["un ombrello azzurro", "la valigia pesante", "cinque pere gialle", "una strana fotografia",
                 "il motore rotto", "due pagnotte", "una conchiglia rara", "la chiave smarrita",
                 "una tazza di tè", "una canzone allegra"],
        "where": ["sotto il ponte", "accanto alla chiesa", "nella valle", "all'aeroporto", "al terzo piano",
                  "dietro il teatro", "vicino al frutteto", "davanti alla scuola"],
    },
    "pt": {
        "when": ["ontem", "na quinta-feira", "antes do café", "depois da tempestade", "às cinco e meia",
                 "no outono", "uma vez por ano", "agora mesmo", "durante a viagem", "há muito tempo"],
        "who": ["o pescador", "uma jovem médica", "o meu vizinho", "o velho relojoeiro", "o seu filho mais novo",
                "a juíza", "um cavalo com sede", "o coro da aldeia", "a nossa guia"],
        "does": ["encontrou", "levou", "mostrou", "pintou", "vendeu", "mediu", "deixou cair", "trouxe",
                 "escolheu", "arranjou"],
        "what": ["um guarda-chuva azul", "a mala pesada", "cinco peras amarelas", "uma fotografia estranha",
                 "o motor avariado", "dois pães grandes", "uma concha rara", "a chave perdida",
                 "uma chávena de chá", "uma canção alegre"],
        "where": ["debaixo da ponte", "ao lado da igreja", "no vale", "no aeroporto", "no terceiro andar",
                  "atrás do teatro", "perto do pomar", "em frente da escola"],
    },
}

# Languages heard only through their numerals, which espeak-ng reads out in words: more sounds, no text. (Its Arabic is
# left out: it does not give the same samples twice.)
NUMERAL_LANGUAGES = ["cmn", "fi", "hi", "ja", "ko", "nl", "pl", "ru", "sv", "sw", "tr", "vi"]
LANGUAGES = list(SLOTS) + NUMERAL_LANGUAGES


def generated_sentence(lang: str, rng: random.Random) -> str:
    """One sentence of `lang`: filled slots in one of three shapes, or numerals."""
    if lang in NUMERAL_LANGUAGES or rng.random() < 0.1:
        return ", ".join(str(rng.randrange(10, 10 ** rng.randint(2, 5))) for _ in range(rng.randint(3, 5))) + "."
    slot = {name: rng.choice(choices) for name, choices in SLOTS[lang].items()}
    shape = rng.choice(["{who} {does} {what} {where}", "{when}, {who} {does} {what}", "{who} {does} {what}, {when}"])
    sentence = shape.format(**slot)
    return sentence[0].upper() + sentence[1:] + "."
