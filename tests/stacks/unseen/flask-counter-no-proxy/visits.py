app = __import__("flask").Flask(__name__)
