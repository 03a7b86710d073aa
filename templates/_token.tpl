% if form_token:
<input type="hidden" name="_token" value="{{form_token}}">
% end
